-- One row per shopper with an event as of the day, retired ones left out; grain: (ds, user_id).
-- Windows end on the day, inclusive: 7d is the day and the six days before. An impression is no event of the shopper's.
-- A basket is all that a shopper bought on one day.
--
-- Params: none: its views hold what the day can see, and days_ago counts back from it
-- Reads:  events, user_item_history, latest_user
WITH
user_regions AS (
  SELECT
    user_id,
    region,
    COUNT_IF(days_ago < 7)                                    AS event_count_7d,
    COUNT_IF(days_ago < 30)                                   AS event_count_30d,
    COUNT_IF(days_ago < 90)                                   AS event_count_90d,
    COUNT(*)                                                  AS event_count_total,
    COUNT_IF(is_view AND days_ago < 30)                       AS view_count_30d,
    COUNT_IF(is_cart AND days_ago < 30)                       AS cart_count_30d,
    COUNT_IF(is_purchase AND days_ago < 30)                   AS purchase_count_30d,
    COUNT_IF(is_purchase AND days_ago < 90)                   AS purchase_count_90d,
    COUNT_IF(is_purchase)                                     AS purchase_count_total,
    TRY_SUM(TRY_MULTIPLY(quantity_milli, unit_price_minor))   AS spend_minor_milli,
    SUM(IF(unit_price_minor IS NOT NULL, quantity_milli, 0L)) AS priced_quantity_milli,
    MIN(days_ago)                                             AS days_since_last_event,
    MAX(days_ago)                                             AS days_since_first_event
  FROM events
  WHERE user_id IS NOT NULL AND is_event
  GROUP BY user_id, region
),
sums AS (
  SELECT
    user_id,
    -- The region of most events; ties go to the later name.
    MAX(IF(region IS NULL, NULL, STRUCT(event_count_total, region))).region AS usual_region,
    SUM(event_count_7d)                                                     AS event_count_7d,
    SUM(event_count_30d)                                                    AS event_count_30d,
    SUM(event_count_90d)                                                    AS event_count_90d,
    SUM(event_count_total)                                                  AS event_count_total,
    SUM(view_count_30d)                                                     AS view_count_30d,
    SUM(cart_count_30d)                                                     AS cart_count_30d,
    SUM(purchase_count_30d)                                                 AS purchase_count_30d,
    SUM(purchase_count_90d)                                                 AS purchase_count_90d,
    SUM(purchase_count_total)                                               AS purchase_count_total,
    TRY_SUM(spend_minor_milli)                                              AS spend_minor_milli,
    SUM(priced_quantity_milli)                                              AS priced_quantity_milli,
    MIN(days_since_last_event)                                              AS days_since_last_event,
    MAX(days_since_first_event)                                             AS days_since_first_event
  FROM user_regions
  GROUP BY user_id
),
purchase_days AS (
  SELECT DISTINCT user_id, days_ago
  FROM events
  WHERE user_id IS NOT NULL AND is_purchase
),
rhythm AS (
  SELECT
    user_id,
    COUNT_IF(days_ago < 90) AS purchase_day_count_90d,
    COUNT(*)                AS purchase_day_count_total,
    MIN(days_ago)           AS days_since_last_purchase,
    MAX(days_ago)           AS days_since_first_purchase
  FROM purchase_days
  GROUP BY user_id
),
breadth AS (
  SELECT
    user_id,
    COUNT(*)                          AS item_count_total,
    COUNT_IF(purchase_count > 0)      AS purchased_item_count,
    COUNT_IF(purchase_day_count >= 2) AS repeat_item_count,
    SUM(purchase_day_count)           AS basket_items
  FROM user_item_history
  GROUP BY user_id
)
SELECT
  t.user_id,
  COALESCE(k.region, t.usual_region)                                                     AS region,
  k.age_band,
  k.preferred_categories,
  CONCAT(COALESCE(k.region, t.usual_region, ''), '|', COALESCE(k.age_band, ''))          AS segment,
  t.event_count_7d,
  t.event_count_30d,
  t.event_count_90d,
  t.event_count_total,
  t.view_count_30d,
  t.cart_count_30d,
  t.purchase_count_30d,
  t.purchase_count_90d,
  t.purchase_count_total,
  COALESCE(r.purchase_day_count_90d, 0L)                                                 AS purchase_day_count_90d,
  COALESCE(r.purchase_day_count_total, 0L)                                               AS purchase_day_count_total,
  b.item_count_total,
  b.purchased_item_count,
  b.repeat_item_count,
  t.days_since_last_event,
  t.days_since_first_event,
  r.days_since_last_purchase,
  IF(t.priced_quantity_milli > 0, t.spend_minor_milli DIV t.priced_quantity_milli, NULL) AS mean_price_minor,
  IF(
    r.purchase_day_count_total > 0,
    CAST(b.basket_items AS DOUBLE) / r.purchase_day_count_total,
    NULL
  )                                                                                      AS mean_basket_items,
  IF(
    r.purchase_day_count_total >= 2,
    CAST(r.days_since_first_purchase - r.days_since_last_purchase AS DOUBLE) / (r.purchase_day_count_total - 1),
    NULL
  )                                                                                      AS mean_gap_days
FROM sums AS t
JOIN breadth AS b ON b.user_id = t.user_id
LEFT JOIN rhythm AS r ON r.user_id = t.user_id
LEFT JOIN latest_user AS k ON k.user_id = t.user_id
WHERE NOT COALESCE(k.deleted, FALSE)
