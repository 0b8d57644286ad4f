-- One row per shopper who signed up and has no event as of the day, retired ones left out; grain: (ds, user_id).
-- Whoever has an event is in features/user. An impression is no event of the shopper's.
--
-- Params: none: its views hold what the day can see
-- Reads:  user_item_history, latest_user
SELECT
  u.user_id,
  u.region,
  u.age_band,
  u.preferred_categories
FROM latest_user AS u
LEFT ANTI JOIN user_item_history AS known ON known.user_id = u.user_id
WHERE NOT u.deleted
