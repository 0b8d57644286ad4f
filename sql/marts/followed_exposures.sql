-- What was shown where it could be seen, and whether something followed; grain: (request_id, item_id).
-- A view of a run, never written: exploration and the labels of what was shown are made of it.
-- Places of a page's further rows are places of their own: position is the column plus :places for each row above, of
-- five rows at most.
-- An exposure counts in the first :places places of a shelf, in the :window_days days up to :ds. A click, view, cart or
-- purchase of the same item follows it if the event names its request. An event that names none follows the latest
-- exposure to the same shopper, if that was less than :follow_minutes minutes before.
--
-- Params: :ds              DATE  the day
--         :window_days     INT   length of the window
--         :places          INT   places of a shelf that count, from the top
--         :follow_minutes  INT   how long after its exposure an event without a request still counts
-- Reads:  exposures, interactions
WITH
shown AS (
  SELECT
    request_id, user_id, item_id, MIN(ts)                AS ts,
    MIN(position + :places * LEAST(COALESCE(row, 0), 4)) AS position
  FROM exposures
  WHERE ds <= :ds
    AND CAST(ts AS DATE) > DATE_SUB(:ds, :window_days) AND CAST(ts AS DATE) <= :ds
    AND position < :places
  GROUP BY request_id, user_id, item_id
),
acts AS (
  SELECT interaction_id, ds, request_id, user_id, item_id, ts
  FROM interactions
  WHERE ds <= :ds
    AND event_date > DATE_SUB(:ds, :window_days) AND event_date <= :ds
    AND event_type IN ('click', 'view', 'add_to_cart', 'purchase')
),
followed AS (
  SELECT s.request_id, s.item_id
  FROM shown AS s
  JOIN acts AS a ON a.request_id = s.request_id AND a.item_id = s.item_id
  UNION
  SELECT MAX(STRUCT(s.ts, s.request_id)).request_id, s.item_id
  FROM shown AS s
  JOIN acts AS a ON a.user_id = s.user_id AND a.item_id = s.item_id
  WHERE a.request_id IS NULL AND a.ts >= s.ts AND a.ts < s.ts + MAKE_DT_INTERVAL(0, 0, :follow_minutes)
  GROUP BY a.ds, a.interaction_id, s.item_id
)
SELECT
  s.request_id,
  s.user_id,
  s.item_id,
  s.ts,
  s.position,
  f.request_id IS NOT NULL AS is_followed
FROM shown AS s
LEFT JOIN followed AS f ON f.request_id = s.request_id AND f.item_id = s.item_id
