-- Every event that was visible on :ds, as it was judged then; grain: (event), as equal rows all count.
-- Nights read these instead of the folders of all days before. Judged again are the events of shoppers of whom a return
-- or a late event landed since (features/earlier_events).
--
-- Params: :ds  DATE  the day whose end it was
-- Reads:  judged_events
SELECT
  COALESCE(user_id, session_id)         AS owner,
  user_id IS NULL                       AS is_visit,
  item_id,
  CAST(DATE_SUB(:ds, days_ago) AS DATE) AS event_date,
  event_type,
  ts,
  quantity_milli,
  unit_price_minor,
  rating_milli,
  dwell_seconds,
  region,
  taken_milli,
  counts
FROM judged_events
