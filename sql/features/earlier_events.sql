-- The settled events as seen from :ds, and which of them are to be judged again; grain: (event).
-- A view of a run, never written. visible_events are those that landed after the settled day. A return takes back
-- earlier purchases, and a late event makes an earlier day more crowded: so is_reopened marks all events of shoppers,
-- and of anonymous visits, who have one of either since. Of all others, earlier events stand as they were judged.
--
-- Params: :ds       DATE  the day to stand in
--         :settled  DATE  the day up to which events are settled
-- Reads:  settled_events, visible_events
SELECT
  e.user_id,
  e.session_id,
  e.item_id,
  e.region,
  e.ts,
  e.event_type,
  e.days_ago,
  e.is_event,
  e.quantity_milli,
  e.unit_price_minor,
  e.rating_milli,
  e.dwell_seconds,
  e.taken_milli,
  e.counts,
  r.is_reopened IS NOT NULL AS is_reopened
FROM (
  SELECT
    IF(is_visit, NULL, owner)  AS user_id,
    IF(is_visit, owner, NULL)  AS session_id,
    owner,
    is_visit,
    item_id,
    region,
    ts,
    event_type,
    DATEDIFF(:ds, event_date)  AS days_ago,
    event_type <> 'impression' AS is_event,
    quantity_milli,
    unit_price_minor,
    rating_milli,
    dwell_seconds,
    taken_milli,
    counts
  FROM settled_events
) AS e
LEFT JOIN (
  SELECT DISTINCT
    COALESCE(user_id, session_id) AS owner,
    user_id IS NULL               AS is_visit,
    TRUE                          AS is_reopened
  FROM visible_events
  WHERE event_type = 'return' OR days_ago >= DATEDIFF(:ds, :settled)
) AS r ON r.owner = e.owner AND r.is_visit = e.is_visit
