-- One row per shopper and item that the shopper did something with, as of :ds; grain: (ds, user_id, item_id).
-- Active items (those of features/item) and shoppers that are not retired only. Windows end on :ds, inclusive.
-- An impression is no event of the shopper's: it is counted, but makes no row.
-- Gaps lie between following purchase days. Their mean and deviation come from integer sums, one division each.
--
-- Params: :ds  DATE  the day to stand in; what landed or happened later is not seen
-- Reads:  interaction_days, users, item
WITH
landed AS (
  SELECT user_id, MAX(ds) AS last_ds
  FROM users
  WHERE ds <= :ds
  GROUP BY user_id
),
retired AS (
  SELECT users.user_id
  FROM landed
  JOIN users ON users.user_id = landed.user_id AND users.ds = landed.last_ds
  WHERE users.ds <= :ds AND users.deleted
),
days AS (
  SELECT
    user_id,
    item_id,
    event_date,
    DATEDIFF(:ds, event_date)  AS days_ago,
    SUM(event_count)           AS event_count,
    SUM(impression_count)      AS impression_count,
    SUM(view_count)            AS view_count,
    SUM(cart_count)            AS cart_count,
    SUM(purchase_count)        AS purchase_count,
    SUM(quantity)              AS quantity,
    SUM(weight_milli)          AS weight_milli,
    SUM(dwell_seconds)         AS dwell_seconds,
    MAX(last_rating_key)       AS last_rating_key,
    MAX(last_event_key)        AS last_event_key
  FROM interaction_days
  WHERE ds <= :ds AND event_date <= :ds AND user_id IS NOT NULL
  GROUP BY user_id, item_id, event_date
),
spaced AS (
  SELECT
    user_id,
    item_id,
    days_ago,
    event_count,
    impression_count,
    view_count,
    cart_count,
    purchase_count,
    quantity,
    weight_milli,
    dwell_seconds,
    last_rating_key,
    last_event_key,
    IF(
      purchase_count > 0,
      CAST(MIN(IF(purchase_count > 0, days_ago, NULL)) OVER (
        PARTITION BY user_id, item_id ORDER BY event_date ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ) - days_ago AS BIGINT),
      NULL
    ) AS gap_days
  FROM days
),
pairs AS (
  SELECT
    user_id,
    item_id,
    SUM(event_count)                            AS event_count,
    SUM(impression_count)                       AS impression_count,
    SUM(view_count)                             AS view_count,
    SUM(cart_count)                             AS cart_count,
    SUM(purchase_count)                         AS purchase_count,
    SUM(IF(days_ago < 30, purchase_count, 0L))  AS purchase_count_30d,
    SUM(IF(days_ago < 90, purchase_count, 0L))  AS purchase_count_90d,
    COUNT_IF(purchase_count > 0)                AS purchase_day_count,
    SUM(quantity)                               AS quantity_total,
    SUM(weight_milli)                           AS weight_milli,
    SUM(IF(days_ago < 30, weight_milli, 0L))    AS weight_30d_milli,
    SUM(dwell_seconds)                          AS dwell_seconds,
    MIN(IF(event_count > 0, days_ago, NULL))    AS days_since_last_event,
    MAX(IF(event_count > 0, days_ago, NULL))    AS days_since_first_event,
    MIN(IF(purchase_count > 0, days_ago, NULL)) AS days_since_last_purchase,
    MAX(IF(purchase_count > 0, days_ago, NULL)) AS days_since_first_purchase,
    COUNT(gap_days)                             AS gap_count,
    SUM(gap_days)                               AS gap_days,
    SUM(gap_days * gap_days)                    AS squared_gap_days,
    MAX(last_rating_key)                        AS last_rating_key,
    MAX(last_event_key)                         AS last_event_key
  FROM spaced
  GROUP BY user_id, item_id
  HAVING SUM(event_count) > 0
)
SELECT
  p.user_id,
  p.item_id,
  item.item_pos,
  p.event_count,
  p.impression_count,
  p.view_count,
  p.cart_count,
  p.purchase_count,
  p.purchase_count_30d,
  p.purchase_count_90d,
  p.purchase_day_count,
  p.quantity_total,
  p.weight_milli,
  p.weight_30d_milli,
  p.days_since_last_event,
  p.days_since_first_event,
  p.days_since_last_purchase,
  p.days_since_first_purchase,
  IF(p.gap_count > 0, CAST(p.gap_days AS DOUBLE) / p.gap_count, NULL)     AS mean_gap_days,
  IF(p.gap_count > 1,
     SQRT(CAST(p.gap_count * p.squared_gap_days - p.gap_days * p.gap_days AS DOUBLE)) / p.gap_count,
     NULL)                                                                AS gap_sd_days,
  PMOD(p.last_rating_key, 1000000L) / 1000.0D                             AS rating_last,
  ELEMENT_AT(ARRAY('click', 'view', 'rating', 'add_to_cart', 'purchase'), CAST(PMOD(p.last_event_key, 8L) AS INT))
                                                                          AS last_event_type,
  COALESCE(p.dwell_seconds, 0L)                                           AS dwell_seconds_total
FROM pairs AS p
JOIN item ON item.item_id = p.item_id
LEFT ANTI JOIN retired ON retired.user_id = p.user_id
