-- The events that landed and happened up to :ds, in the units that features count in; grain: (event).
-- A view of a run, never written. A late row counts from the day it came in. Equal rows all count.
-- days_ago is 0 for :ds: the last 7 days are days_ago < 7. is_event is false for impressions. session_id is that of
-- an anonymous visit only. Without rows that take an item out of the cart: nothing is learned from them.
--
-- Limits, so that no single row can overflow a sum: a thousand million pieces, prices below 10^14 minor units, ratings
-- from 0 to 999.999, dwell up to a day. LEAST and GREATEST pass over nulls, so missing values are kept from them.
--
-- Params: :ds  DATE  the day to stand in
-- Reads:  interactions
SELECT
  user_id,
  IF(user_id IS NULL, session_id, NULL) AS session_id,
  item_id,
  region,
  ts,
  event_type,
  DATEDIFF(:ds, event_date)             AS days_ago,
  event_type <> 'impression'            AS is_event,
  -- Thousandths of pieces bought or returned: a purchase without a quantity is of one piece.
  CASE
    WHEN event_type IN ('purchase', 'return') THEN CAST(LEAST(COALESCE(quantity, 1), 1000000000) * 1000 AS BIGINT)
    ELSE 0L
  END                                   AS quantity_milli,
  CASE
    WHEN event_type = 'purchase' AND unit_price_minor IS NOT NULL THEN LEAST(unit_price_minor, 99999999999999L)
  END                                   AS unit_price_minor,
  CASE
    WHEN event_type = 'rating' AND NOT ISNAN(value) AND value IS NOT NULL
      THEN CAST(ROUND(LEAST(GREATEST(value, 0.0D), 999.999D) * 1000) AS BIGINT)
  END                                   AS rating_milli,
  CASE
    WHEN event_type = 'view' AND NOT ISNAN(value) AND value IS NOT NULL
      THEN LEAST(GREATEST(value, 0.0D), 86400.0D)
  END                                   AS dwell_seconds
FROM interactions
WHERE ds <= :ds AND event_date <= :ds AND event_type <> 'remove_from_cart'
