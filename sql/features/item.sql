-- One row per active item as of :ds, with its popularity; grain: (ds, item_id).
-- Active: the latest landed row is not deleted, or there is none and a shopper did something with it.
-- item_pos is the item's place in the byte order of item_id: the order of the night's catalogue.
-- Windows end on :ds, inclusive: 7d is :ds and the six days before. Anonymous visits count, but are nobody's users.
-- The price is the landed one; without one, the highest price paid on the last day that it was bought.
--
-- Params: :ds  DATE  the day to stand in; what landed or happened later is not seen
-- Reads:  interaction_days, items
WITH
days AS (
  SELECT
    item_id,
    user_id,
    event_date,
    DATEDIFF(:ds, event_date)    AS days_ago,
    SUM(event_count)             AS event_count,
    SUM(impression_count)        AS impression_count,
    SUM(view_count)              AS view_count,
    SUM(cart_count)              AS cart_count,
    SUM(purchase_count)          AS purchase_count,
    SUM(weight_milli)            AS weight_milli,
    SUM(quantity)                AS quantity,
    MAX(top_unit_price_minor)    AS top_unit_price_minor,
    SUM(rating_count)            AS rating_count,
    SUM(rating_sum_milli)        AS rating_sum_milli
  FROM interaction_days
  WHERE ds <= :ds AND event_date <= :ds
  GROUP BY item_id, user_id, event_date
),
pairs AS (
  SELECT
    item_id,
    user_id,
    SUM(event_count)                                              AS event_count,
    SUM(IF(days_ago < 30, impression_count, 0L))                  AS impression_count_30d,
    SUM(IF(days_ago < 1, view_count, 0L))                         AS view_count_1d,
    SUM(IF(days_ago < 7, view_count, 0L))                         AS view_count_7d,
    SUM(IF(days_ago < 30, view_count, 0L))                        AS view_count_30d,
    SUM(IF(days_ago < 30, cart_count, 0L))                        AS cart_count_30d,
    SUM(IF(days_ago < 1, purchase_count, 0L))                     AS purchase_count_1d,
    SUM(IF(days_ago < 7, purchase_count, 0L))                     AS purchase_count_7d,
    SUM(IF(days_ago < 30, purchase_count, 0L))                    AS purchase_count_30d,
    SUM(IF(days_ago < 90, purchase_count, 0L))                    AS purchase_count_90d,
    SUM(purchase_count)                                           AS purchase_count_total,
    SUM(IF(days_ago < 1, weight_milli, 0L))                       AS weight_1d_milli,
    SUM(IF(days_ago < 7, weight_milli, 0L))                       AS weight_7d_milli,
    SUM(IF(days_ago < 30, weight_milli, 0L))                      AS weight_30d_milli,
    SUM(IF(days_ago < 90, weight_milli, 0L))                      AS weight_90d_milli,
    SUM(weight_milli)                                             AS weight_total_milli,
    SUM(IF(days_ago < 30, quantity, 0L))                          AS quantity_30d,
    SUM(rating_count)                                             AS rating_count,
    SUM(rating_sum_milli)                                         AS rating_sum_milli,
    MAX(IF(event_count > 0, days_ago, NULL))                      AS days_since_first_event,
    MIN(IF(event_count > 0, days_ago, NULL))                      AS days_since_last_event,
    MIN(IF(purchase_count > 0, days_ago, NULL))                   AS days_since_last_purchase,
    MAX(IF(purchase_count > 0, days_ago, NULL))                   AS days_since_first_purchase,
    COUNT_IF(purchase_count > 0)                                  AS purchase_day_count,
    -- The day and the price in one integer: a price of less than 10^14 minor units, no ties to break.
    MAX(UNIX_DATE(event_date) * 100000000000000L + top_unit_price_minor) AS last_price_key
  FROM days
  GROUP BY item_id, user_id
),
popularity AS (
  SELECT
    item_id,
    SUM(impression_count_30d)                                     AS impression_count_30d,
    SUM(view_count_1d)                                            AS view_count_1d,
    SUM(view_count_7d)                                            AS view_count_7d,
    SUM(view_count_30d)                                           AS view_count_30d,
    SUM(cart_count_30d)                                           AS cart_count_30d,
    SUM(purchase_count_1d)                                        AS purchase_count_1d,
    SUM(purchase_count_7d)                                        AS purchase_count_7d,
    SUM(purchase_count_30d)                                       AS purchase_count_30d,
    SUM(purchase_count_90d)                                       AS purchase_count_90d,
    SUM(purchase_count_total)                                     AS purchase_count_total,
    COUNT_IF(user_id IS NOT NULL AND days_since_last_event < 7)   AS user_count_7d,
    COUNT_IF(user_id IS NOT NULL AND days_since_last_event < 30)  AS user_count_30d,
    COUNT_IF(user_id IS NOT NULL AND event_count > 0)             AS user_count_total,
    COUNT_IF(user_id IS NOT NULL AND days_since_last_purchase < 30) AS purchaser_count_30d,
    COUNT_IF(user_id IS NOT NULL AND purchase_count_total > 0)    AS purchaser_count_total,
    COUNT_IF(user_id IS NOT NULL AND purchase_day_count >= 2)     AS repeat_purchaser_count,
    SUM(weight_1d_milli)                                          AS weight_1d_milli,
    SUM(weight_7d_milli)                                          AS weight_7d_milli,
    SUM(weight_30d_milli)                                         AS weight_30d_milli,
    SUM(weight_90d_milli)                                         AS weight_90d_milli,
    SUM(weight_total_milli)                                       AS weight_total_milli,
    SUM(quantity_30d)                                             AS quantity_30d,
    SUM(rating_count)                                             AS rating_count,
    SUM(rating_sum_milli)                                         AS rating_sum_milli,
    MAX(days_since_first_event)                                   AS days_since_first_event,
    MIN(days_since_last_event)                                    AS days_since_last_event,
    MIN(days_since_last_purchase)                                 AS days_since_last_purchase,
    SUM(IF(user_id IS NOT NULL AND purchase_day_count >= 2,
           days_since_first_purchase - days_since_last_purchase, 0)) AS gap_days,
    SUM(IF(user_id IS NOT NULL AND purchase_day_count >= 2, purchase_day_count - 1, 0)) AS gap_count,
    PMOD(MAX(last_price_key), 100000000000000L)                   AS last_price_minor
  FROM pairs
  GROUP BY item_id
  HAVING SUM(event_count) > 0
),
landed AS (
  SELECT item_id, MIN(ds) AS first_ds, MAX(ds) AS last_ds
  FROM items
  WHERE ds <= :ds
  GROUP BY item_id
),
catalogue AS (
  SELECT
    landed.item_id,
    landed.first_ds,
    items.title,
    items.category,
    items.brand,
    items.seller_id,
    items.price_minor,
    items.stock,
    TO_DATE(items.created_at) AS created_date,
    items.deleted
  FROM landed
  JOIN items ON items.item_id = landed.item_id AND items.ds = landed.last_ds
  WHERE items.ds <= :ds
)
SELECT
  ROW_NUMBER() OVER (ORDER BY item_id) - 1                        AS item_pos,
  item_id,
  c.title,
  c.category,
  c.brand,
  c.seller_id,
  COALESCE(c.price_minor, p.last_price_minor)                     AS price_minor,
  c.stock,
  LEAST(c.created_date, c.first_ds, DATE_SUB(:ds, p.days_since_first_event)) AS first_seen_date,
  DATEDIFF(:ds, LEAST(c.created_date, c.first_ds, DATE_SUB(:ds, p.days_since_first_event))) AS age_days,
  COALESCE(p.impression_count_30d, 0L)                            AS impression_count_30d,
  COALESCE(p.view_count_1d, 0L)                                   AS view_count_1d,
  COALESCE(p.view_count_7d, 0L)                                   AS view_count_7d,
  COALESCE(p.view_count_30d, 0L)                                  AS view_count_30d,
  COALESCE(p.cart_count_30d, 0L)                                  AS cart_count_30d,
  COALESCE(p.purchase_count_1d, 0L)                               AS purchase_count_1d,
  COALESCE(p.purchase_count_7d, 0L)                               AS purchase_count_7d,
  COALESCE(p.purchase_count_30d, 0L)                              AS purchase_count_30d,
  COALESCE(p.purchase_count_90d, 0L)                              AS purchase_count_90d,
  COALESCE(p.purchase_count_total, 0L)                            AS purchase_count_total,
  COALESCE(p.user_count_7d, 0L)                                   AS user_count_7d,
  COALESCE(p.user_count_30d, 0L)                                  AS user_count_30d,
  COALESCE(p.user_count_total, 0L)                                AS user_count_total,
  COALESCE(p.purchaser_count_30d, 0L)                             AS purchaser_count_30d,
  COALESCE(p.purchaser_count_total, 0L)                           AS purchaser_count_total,
  COALESCE(p.repeat_purchaser_count, 0L)                          AS repeat_purchaser_count,
  COALESCE(p.weight_1d_milli, 0L)                                 AS weight_1d,
  COALESCE(p.weight_7d_milli, 0L)                                 AS weight_7d,
  COALESCE(p.weight_30d_milli, 0L)                                AS weight_30d,
  COALESCE(p.weight_90d_milli, 0L)                                AS weight_90d,
  COALESCE(p.weight_total_milli, 0L)                              AS weight_total,
  COALESCE(p.quantity_30d, 0L)                                    AS quantity_30d,
  COALESCE(p.rating_count, 0L)                                    AS rating_count,
  p.rating_sum_milli / (p.rating_count * 1000.0D)                 AS rating_mean,
  p.days_since_last_event,
  p.days_since_last_purchase,
  IF(p.gap_count > 0, CAST(p.gap_days AS DOUBLE) / p.gap_count, NULL) AS mean_gap_days
FROM popularity AS p
FULL JOIN catalogue AS c USING (item_id)
WHERE NOT COALESCE(c.deleted, FALSE)
