-- One row per shopper who signed up and has no event as of :ds, retired ones left out; grain: (ds, user_id).
-- Whoever has an event is in features/user. An impression is no event of the shopper's.
--
-- Params: :ds  DATE  the day to stand in; what landed or happened later is not seen
-- Reads:  user_item_history, users
WITH
landed AS (
  SELECT user_id, MAX(ds) AS last_ds
  FROM users
  WHERE ds <= :ds
  GROUP BY user_id
)
SELECT
  users.user_id,
  users.region,
  users.age_band,
  users.preferred_categories
FROM users
JOIN landed ON landed.user_id = users.user_id AND landed.last_ds = users.ds
LEFT ANTI JOIN user_item_history AS known ON known.user_id = users.user_id
WHERE users.ds <= :ds AND NOT users.deleted
