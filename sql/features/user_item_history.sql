-- One row per shopper and item that the shopper did something with, as of the day; grain: (user_id, item_id).
-- A view of a run, never written: item, user and user_item are made of it. Retired shoppers and items are in it.
-- An impression is counted, but makes no row. A gap is the days from one purchase day to the next.
-- last_event_key is microseconds since 1970 times 8, plus the event type's place in the funnel. last_rating_key is
-- milliseconds times a million, plus the rating in thousandths. Each is one integer, so its maximum has no ties.
-- Subqueries, not WITH: Spark does not find the frame that a run keeps of a query with WITH inside another one.
--
-- Params: none: events are those that the day can see, and days_ago counts back from it
-- Reads:  events
SELECT /*+ SHUFFLE_HASH(r) */
  p.user_id,
  p.item_id,
  p.event_count,
  p.impression_count,
  p.view_count,
  p.cart_count,
  p.purchase_count,
  p.purchase_count_30d,
  p.purchase_count_90d,
  COALESCE(r.purchase_day_count, 0L) AS purchase_day_count,
  p.quantity_total,
  p.weight_milli,
  p.weight_30d_milli,
  p.dwell_seconds_total,
  p.days_since_last_event,
  p.days_since_first_event,
  r.days_since_last_purchase,
  r.days_since_first_purchase,
  COALESCE(r.gap_count, 0L)          AS gap_count,
  r.gap_days,
  r.squared_gap_days,
  p.last_rating_key,
  p.last_event_key
FROM (
  SELECT
    user_id,
    item_id,
    COUNT_IF(is_event)                                           AS event_count,
    COUNT_IF(NOT is_event)                                       AS impression_count,
    COUNT_IF(is_view)                                            AS view_count,
    COUNT_IF(is_cart)                                            AS cart_count,
    COUNT_IF(is_purchase)                                        AS purchase_count,
    COUNT_IF(is_purchase AND days_ago < 30)                      AS purchase_count_30d,
    COUNT_IF(is_purchase AND days_ago < 90)                      AS purchase_count_90d,
    SUM(quantity_milli) / 1000.0D                                AS quantity_total,
    SUM(weight_milli)                                            AS weight_milli,
    SUM(IF(days_ago < 30, weight_milli, 0L))                     AS weight_30d_milli,
    COALESCE(SUM(dwell_seconds), 0L)                             AS dwell_seconds_total,
    MIN(IF(is_event, days_ago, NULL))                            AS days_since_last_event,
    MAX(IF(is_event, days_ago, NULL))                            AS days_since_first_event,
    MAX(GREATEST(UNIX_MILLIS(ts), 0L) * 1000000L + rating_milli) AS last_rating_key,
    MAX(
      CASE event_type
        WHEN 'click' THEN UNIX_MICROS(ts) * 8L + 1L
        WHEN 'view' THEN UNIX_MICROS(ts) * 8L + 2L
        WHEN 'rating' THEN UNIX_MICROS(ts) * 8L + 3L
        WHEN 'add_to_cart' THEN UNIX_MICROS(ts) * 8L + 4L
        WHEN 'purchase' THEN UNIX_MICROS(ts) * 8L + 5L
      END
    )                                                            AS last_event_key
  FROM events
  WHERE user_id IS NOT NULL
  GROUP BY user_id, item_id
  HAVING COUNT_IF(is_event) > 0
) AS p
LEFT JOIN (
  SELECT
    user_id,
    item_id,
    COUNT(*)                 AS purchase_day_count,
    MIN(days_ago)            AS days_since_last_purchase,
    MAX(days_ago)            AS days_since_first_purchase,
    COUNT(gap_days)          AS gap_count,
    SUM(gap_days)            AS gap_days,
    SUM(gap_days * gap_days) AS squared_gap_days
  FROM (
    SELECT
      user_id,
      item_id,
      days_ago,
      CAST(LAG(days_ago) OVER (PARTITION BY user_id, item_id ORDER BY days_ago DESC) - days_ago AS BIGINT) AS gap_days
    FROM (
      SELECT /*+ REPARTITION(user_id, item_id) */ user_id, item_id, days_ago
      FROM events
      WHERE user_id IS NOT NULL AND is_purchase
    )
    GROUP BY user_id, item_id, days_ago
  )
  GROUP BY user_id, item_id
) AS r ON r.user_id = p.user_id AND r.item_id = p.item_id
