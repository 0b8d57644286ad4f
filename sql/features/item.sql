-- One row per active item as of :ds, with its popularity; grain: (ds, item_id).
-- An item is active if its newest landed row is not deleted, or if it never landed and a shopper did something with it.
-- item_pos is the item's place in the byte order of item_id: the order of the night's catalogue.
-- Windows end on :ds, inclusive: 7d is :ds and the six days before. Anonymous visits count as events, not as users.
-- The price is the landed one; without one, the highest price paid on the last day that the item was bought.
--
-- Params: :ds  DATE  the day; its views hold what it can see
-- Reads:  events, user_item_history, latest_item
WITH
sums AS (
  SELECT
    item_id,
    COUNT_IF(NOT is_event AND days_ago < 30)                                   AS impression_count_30d,
    COUNT_IF(is_view AND days_ago < 1)                                         AS view_count_1d,
    COUNT_IF(is_view AND days_ago < 7)                                         AS view_count_7d,
    COUNT_IF(is_view AND days_ago < 30)                                        AS view_count_30d,
    COUNT_IF(is_cart AND days_ago < 30)                                        AS cart_count_30d,
    COUNT_IF(is_purchase AND days_ago < 1)                                     AS purchase_count_1d,
    COUNT_IF(is_purchase AND days_ago < 7)                                     AS purchase_count_7d,
    COUNT_IF(is_purchase AND days_ago < 30)                                    AS purchase_count_30d,
    COUNT_IF(is_purchase AND days_ago < 90)                                    AS purchase_count_90d,
    COUNT_IF(is_purchase)                                                      AS purchase_count_total,
    SUM(IF(days_ago < 1, weight_milli, 0L))                                    AS weight_1d,
    SUM(IF(days_ago < 7, weight_milli, 0L))                                    AS weight_7d,
    SUM(IF(days_ago < 30, weight_milli, 0L))                                   AS weight_30d,
    SUM(IF(days_ago < 90, weight_milli, 0L))                                   AS weight_90d,
    SUM(weight_milli)                                                          AS weight_total,
    SUM(IF(days_ago < 30, quantity_milli, 0L)) / 1000.0D                       AS quantity_30d,
    COUNT(rating_milli)                                                        AS rating_count,
    SUM(rating_milli)                                                          AS rating_sum_milli,
    MAX(IF(is_event, days_ago, NULL))                                          AS days_since_first_event,
    MIN(IF(is_event, days_ago, NULL))                                          AS days_since_last_event,
    MIN(IF(is_purchase, days_ago, NULL))                                       AS days_since_last_purchase,
    -- The day and the price, below 10^14 minor units, in one integer: no ties to break.
    MAX(GREATEST(40000L - days_ago, 0L) * 100000000000000L + unit_price_minor) AS last_price_key
  FROM events
  GROUP BY item_id
  HAVING COUNT_IF(is_event) > 0
),
shoppers AS (
  SELECT
    item_id,
    COUNT_IF(days_since_last_event < 7)     AS user_count_7d,
    COUNT_IF(days_since_last_event < 30)    AS user_count_30d,
    COUNT(*)                                AS user_count_total,
    COUNT_IF(days_since_last_purchase < 30) AS purchaser_count_30d,
    COUNT_IF(purchase_count > 0)            AS purchaser_count_total,
    COUNT_IF(purchase_day_count >= 2)       AS repeat_purchaser_count,
    SUM(gap_days)                           AS gap_days,
    SUM(gap_count)                          AS gap_count
  FROM user_item_history
  GROUP BY item_id
)
SELECT
  ROW_NUMBER() OVER (ORDER BY item_id) - 1                                          AS item_pos,
  item_id,
  c.title,
  c.category,
  c.brand,
  c.seller_id,
  c.image_url,
  COALESCE(c.price_minor, PMOD(p.last_price_key, 100000000000000L))                 AS price_minor,
  c.stock,
  LEAST(TO_DATE(c.created_at), c.first_ds, DATE_SUB(:ds, p.days_since_first_event)) AS first_seen_date,
  DATEDIFF(
    :ds,
    LEAST(TO_DATE(c.created_at), c.first_ds, DATE_SUB(:ds, p.days_since_first_event))
  )                                                                                 AS age_days,
  COALESCE(p.impression_count_30d, 0L)                                              AS impression_count_30d,
  COALESCE(p.view_count_1d, 0L)                                                     AS view_count_1d,
  COALESCE(p.view_count_7d, 0L)                                                     AS view_count_7d,
  COALESCE(p.view_count_30d, 0L)                                                    AS view_count_30d,
  COALESCE(p.cart_count_30d, 0L)                                                    AS cart_count_30d,
  COALESCE(p.purchase_count_1d, 0L)                                                 AS purchase_count_1d,
  COALESCE(p.purchase_count_7d, 0L)                                                 AS purchase_count_7d,
  COALESCE(p.purchase_count_30d, 0L)                                                AS purchase_count_30d,
  COALESCE(p.purchase_count_90d, 0L)                                                AS purchase_count_90d,
  COALESCE(p.purchase_count_total, 0L)                                              AS purchase_count_total,
  COALESCE(u.user_count_7d, 0L)                                                     AS user_count_7d,
  COALESCE(u.user_count_30d, 0L)                                                    AS user_count_30d,
  COALESCE(u.user_count_total, 0L)                                                  AS user_count_total,
  COALESCE(u.purchaser_count_30d, 0L)                                               AS purchaser_count_30d,
  COALESCE(u.purchaser_count_total, 0L)                                             AS purchaser_count_total,
  COALESCE(u.repeat_purchaser_count, 0L)                                            AS repeat_purchaser_count,
  COALESCE(p.weight_1d, 0L)                                                         AS weight_1d,
  COALESCE(p.weight_7d, 0L)                                                         AS weight_7d,
  COALESCE(p.weight_30d, 0L)                                                        AS weight_30d,
  COALESCE(p.weight_90d, 0L)                                                        AS weight_90d,
  COALESCE(p.weight_total, 0L)                                                      AS weight_total,
  COALESCE(p.quantity_30d, 0.0D)                                                    AS quantity_30d,
  COALESCE(p.rating_count, 0L)                                                      AS rating_count,
  p.rating_sum_milli / (p.rating_count * 1000.0D)                                   AS rating_mean,
  p.days_since_last_event,
  p.days_since_last_purchase,
  IF(u.gap_count > 0, CAST(u.gap_days AS DOUBLE) / u.gap_count, NULL)               AS mean_gap_days
FROM sums AS p
FULL JOIN latest_item AS c USING (item_id)
LEFT JOIN shoppers AS u USING (item_id)
WHERE NOT COALESCE(c.deleted, FALSE)
