-- One row per event that landed and happened up to :ds, with its weight; grain: (event), as equal rows all count.
-- A view of a run, never written. A late row counts from the day it came in.
-- days_ago is 0 for :ds: the last 7 days are days_ago < 7. is_event is false for impressions.
--
-- Params: :ds                        DATE  the day to stand in
--         :weight_impression_milli   INT   weight of an impression, thousandths of a view
--         :weight_click_milli        INT   of a click
--         :weight_view_milli         INT   of a view
--         :weight_rating_milli       INT   of a rating
--         :weight_add_to_cart_milli  INT   of an item put into the cart
--         :weight_purchase_milli     INT   of a purchase
-- Reads:  interactions
SELECT
  user_id,
  item_id,
  region,
  ts,
  event_type,
  DATEDIFF(:ds, event_date)                                              AS days_ago,
  event_type <> 'impression'                                             AS is_event,
  event_type IN ('view', 'click')                                        AS is_view,
  event_type = 'add_to_cart'                                             AS is_cart,
  event_type = 'purchase'                                                AS is_purchase,
  CAST(CASE event_type
    WHEN 'impression' THEN :weight_impression_milli
    WHEN 'click' THEN :weight_click_milli
    WHEN 'view' THEN :weight_view_milli
    WHEN 'rating' THEN :weight_rating_milli
    WHEN 'add_to_cart' THEN :weight_add_to_cart_milli
    WHEN 'purchase' THEN :weight_purchase_milli
    ELSE 0
  END AS BIGINT)                                                         AS weight_milli,
  -- Pieces bought: a purchase without a quantity is of one piece.
  IF(event_type = 'purchase', CAST(COALESCE(quantity, 1) AS BIGINT), 0L) AS quantity,
  -- Limits, so that no single row can overflow a sum: prices below 10^14 minor units, ratings from 0 to 999.999, dwell
  -- up to a day. LEAST and GREATEST pass over nulls, so missing values are kept from them.
  CASE
    WHEN event_type = 'purchase' AND unit_price_minor IS NOT NULL THEN LEAST(unit_price_minor, 99999999999999L)
  END                                                                    AS unit_price_minor,
  CASE
    WHEN event_type = 'rating' AND NOT ISNAN(value) AND value IS NOT NULL
      THEN CAST(ROUND(LEAST(GREATEST(value, 0.0D), 999.999D) * 1000) AS BIGINT)
  END                                                                    AS rating_milli,
  CASE
    WHEN event_type = 'view' AND NOT ISNAN(value) AND value IS NOT NULL
      THEN CAST(ROUND(LEAST(GREATEST(value, 0.0D), 86400.0D)) AS BIGINT)
  END                                                                    AS dwell_seconds
FROM interactions
WHERE ds <= :ds AND event_date <= :ds
