-- One row per event that counts, with its weight; grain: (event), as equal rows all count.
-- A view of a run, never written.
-- days_ago is 0 for the day: the last 7 days are days_ago < 7. is_event is false for impressions. A low rating is an
-- event of the shopper's and weighs nothing.
--
-- Params: :weight_impression_milli   INT   weight of an impression, thousandths of a view
--         :weight_click_milli        INT   of a click
--         :weight_view_milli         INT   of a view
--         :weight_rating_milli       INT   of a rating
--         :weight_add_to_cart_milli  INT   of an item put into the cart
--         :weight_purchase_milli     INT   of a purchase
-- Reads:  counted_events
SELECT
  user_id,
  session_id,
  item_id,
  region,
  ts,
  event_type,
  days_ago,
  is_event,
  event_type IN ('view', 'click')      AS is_view,
  event_type = 'add_to_cart'           AS is_cart,
  event_type = 'purchase'              AS is_purchase,
  CAST(CASE
    WHEN event_type = 'impression' THEN :weight_impression_milli
    WHEN event_type = 'click' THEN :weight_click_milli
    WHEN event_type = 'view' THEN :weight_view_milli
    WHEN event_type = 'rating' AND NOT is_low THEN :weight_rating_milli
    WHEN event_type = 'add_to_cart' THEN :weight_add_to_cart_milli
    WHEN event_type = 'purchase' THEN :weight_purchase_milli
    ELSE 0
  END AS BIGINT)                       AS weight_milli,
  quantity_milli,
  unit_price_minor,
  rating_milli,
  CAST(ROUND(dwell_seconds) AS BIGINT) AS dwell_seconds
FROM counted_events
