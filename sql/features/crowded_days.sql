-- Days on which one shopper, or anonymous visit, did more than a person does.
-- A view of a run, never written; grain: (user_id, session_id, days_ago). Impressions are not the shopper's doing.
--
-- Params: :shopper_limit  INT  most events of one shopper on one day
-- Reads:  visible_events
SELECT
  user_id,
  session_id,
  days_ago,
  COUNT(*) AS event_count
FROM visible_events
WHERE is_event
GROUP BY user_id, session_id, days_ago
HAVING COUNT(*) > :shopper_limit
