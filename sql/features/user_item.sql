-- One row per shopper and item that the shopper did something with, as of the day; grain: (ds, user_id, item_id).
-- Active items (those of features/item) and shoppers that are not retired. Windows end on the day, inclusive.
-- An impression is no event of the shopper's: it is counted, but makes no row.
-- A gap is the days from one purchase day to the next. Mean and deviation come from integer sums, one division each.
--
-- Params: none: its views hold what the day can see
-- Reads:  user_item_history, latest_user, item
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
  IF(p.gap_count > 0, CAST(p.gap_days AS DOUBLE) / p.gap_count, NULL)      AS mean_gap_days,
  IF(
    p.gap_count > 1,
    SQRT(CAST(p.gap_count * p.squared_gap_days - p.gap_days * p.gap_days AS DOUBLE)) / p.gap_count,
    NULL
  )                                                                        AS gap_sd_days,
  PMOD(p.last_rating_key, 1000000L) / 1000.0D                              AS rating_last,
  ELEMENT_AT(
    ARRAY('click', 'view', 'rating', 'add_to_cart', 'purchase'),
    CAST(PMOD(p.last_event_key, 8L) AS INT)
  )                                                                        AS last_event_type,
  TIMESTAMP_MICROS((p.last_event_key - PMOD(p.last_event_key, 8L)) DIV 8L) AS last_event_ts,
  p.dwell_seconds_total
FROM user_item_history AS p
JOIN item ON item.item_id = p.item_id
LEFT ANTI JOIN latest_user AS u ON u.user_id = p.user_id AND u.deleted
