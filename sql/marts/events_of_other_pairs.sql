-- Staged events without those of the held out pairs; grain: (ds, interaction_id).
-- A view of a run: a night of a shop that is too young for windows writes it to a lake of its own.
--
-- Params: :ds  DATE  the day to stand in
-- Reads:  interactions, held_out_pairs
SELECT
  e.ds,
  e.interaction_id,
  e.event_id,
  e.user_id,
  e.session_id,
  e.item_id,
  e.event_type,
  e.ts,
  e.event_date,
  e.value,
  e.quantity,
  e.unit_price_minor,
  e.request_id,
  e.position,
  e.page,
  e.device,
  e.location,
  e.region
FROM interactions AS e
LEFT ANTI JOIN held_out_pairs AS h ON h.user_id = e.user_id AND h.item_id = e.item_id
WHERE e.ds <= :ds AND e.event_date <= :ds
