-- One row per anonymous visit and item; grain: (ds, session_id, item_id). Only item-item neighbours are made of it.
-- An impression weighs nothing here.
--
-- Params: none: its views hold what the day can see, and days_ago counts back from it
-- Reads:  events, item
SELECT
  events.session_id,
  events.item_id,
  item.item_pos,
  SUM(IF(events.is_event, events.weight_milli, 0L)) AS weight_milli,
  MIN(events.days_ago)                              AS days_since_last_event,
  MAX(IF(events.is_event, events.ts, NULL))         AS last_event_ts
FROM events
JOIN item ON item.item_id = events.item_id
WHERE events.session_id IS NOT NULL
GROUP BY events.session_id, events.item_id, item.item_pos
