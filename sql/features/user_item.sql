-- One row per shopper and item that the shopper did something with, as of :ds; grain: (ds, user_id, item_id).
-- Active items (those of features/item) and shoppers that are not retired only. Windows end on :ds, inclusive.
-- An impression is no event of the shopper's: it is counted, but makes no row.
-- Gaps lie between following purchase days. Their mean and deviation come from integer sums, one division each.
--
-- Params: :ds  DATE  the day to stand in; what landed or happened later is not seen
-- Reads:  user_item_history, users, item
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
  p.dwell_seconds_total
FROM user_item_history AS p
JOIN item ON item.item_id = p.item_id
LEFT ANTI JOIN retired ON retired.user_id = p.user_id
