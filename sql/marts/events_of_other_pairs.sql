-- Staged events without those of the held out pairs, which sql/marts/held_out_acts.sql chooses; grain: (ds,
-- interaction_id).
-- A view of a run: a night of a shop that is too young for windows writes it to a lake of its own.
--
-- Params: :ds     DATE  the day to stand in
--         :seed   INT   another seed, another choice
--         :share  INT   one pair in this many is held out
-- Reads:  interactions
SELECT
  ds,
  interaction_id,
  event_id,
  user_id,
  session_id,
  item_id,
  event_type,
  ts,
  event_date,
  value,
  quantity,
  unit_price_minor,
  request_id,
  position,
  page,
  device,
  location,
  region
FROM interactions
WHERE
  ds <= :ds
  AND event_date <= :ds
  AND (
    user_id IS NULL
    OR PMOD(
      CAST(CONV(SUBSTR(MD5(CONCAT(CAST(:seed AS STRING), '|', user_id, '|', item_id)), 1, 8), 16, 10) AS BIGINT), :share
    ) <> 0
  )
