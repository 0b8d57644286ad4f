-- The events of the pairs of shopper and item that are held out; grain: (event).
-- A view of a run, never written. sql/marts/events_of_other_pairs.sql has the rest.
--
-- Params: none: held_out_pairs says which pairs they are
-- Reads:  acts, held_out_pairs
SELECT
  acts.user_id,
  acts.session_id,
  acts.item_id,
  acts.region,
  acts.ts,
  acts.event_type,
  acts.days_ago,
  acts.is_event,
  acts.quantity_milli,
  acts.unit_price_minor,
  acts.rating_milli,
  acts.dwell_seconds,
  acts.is_low
FROM acts
LEFT SEMI JOIN held_out_pairs AS h ON h.user_id = acts.user_id AND h.item_id = acts.item_id
