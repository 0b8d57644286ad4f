-- The labels of a sample of the shoppers, chosen by a hash of their id, so that the choice repeats; grain: (user_id,
-- item_pos).
-- A view of a run, never written.
--
-- Params: :users_of_a_million  INT  of a million shoppers, about so many are kept
-- Reads:  labels
SELECT
  user_id,
  item_pos,
  purchased,
  view_count,
  cart_count,
  dwell_s,
  revenue_minor
FROM labels
WHERE PMOD(CAST(CONV(SUBSTR(MD5(user_id), 1, 8), 16, 10) AS BIGINT), 1000000L) < :users_of_a_million
