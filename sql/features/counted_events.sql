-- The events that count (features/judged_events says which); grain: (event).
-- A view of a run, never written. Returns are not in it, and of a purchase there are the pieces that returns left.
-- is_low marks a rating below the middle of the shop's scale. It is no liking.
--
-- Reads:  judged_events, rating_scale
SELECT
  user_id,
  session_id,
  item_id,
  region,
  ts,
  event_type,
  days_ago,
  is_event,
  quantity_milli - taken_milli                                                         AS quantity_milli,
  unit_price_minor,
  rating_milli,
  dwell_seconds,
  COALESCE(rating_milli < (SELECT rating_scale.middle_milli FROM rating_scale), FALSE) AS is_low
FROM judged_events
WHERE counts
