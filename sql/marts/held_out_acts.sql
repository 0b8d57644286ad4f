-- The events of the pairs of shopper and item that are held out, chosen by a hash of both; grain: (event).
-- A view of a run, never written. sql/marts/events_of_other_pairs.sql has the rest.
--
-- Params: :seed   INT  another seed, another choice
--         :share  INT  one pair in this many is held out
-- Reads:  acts
SELECT
  user_id,
  session_id,
  item_id,
  region,
  ts,
  event_type,
  days_ago,
  is_event,
  quantity_milli,
  unit_price_minor,
  rating_milli,
  dwell_seconds,
  is_low
FROM acts
WHERE
  user_id IS NOT NULL
  AND PMOD(
    CAST(CONV(SUBSTR(MD5(CONCAT(CAST(:seed AS STRING), '|', user_id, '|', item_id)), 1, 8), 16, 10) AS BIGINT), :share
  ) = 0
