-- What the units of running experiments were shown on the day, and what they did; grain: (experiment, unit_id, arm).
-- Shown is an item on an answer that names the experiment; `followed_exposures` says which places count, and what
-- followed.
-- A shopper is a unit from the first answer that names their arm: purchases and visits count from then on, from
-- shelves or not, and on days without an answer too. A request's purchases are those of what it showed: they name it,
-- or name no request and come less than :follow_minutes minutes after the latest answer that showed the item.
-- Of an interleaving, a row is of the places of one arm: it has clicks and credit, and neither purchases nor visits.
-- Each clicked answer gives a credit of 1, shared among arms as their places were clicked.
-- Answers that a tester forced count nowhere.
--
-- Params: :ds              DATE  the landing folder's day, of exposures and of events
--         :follow_minutes  INT   how long after it was shown an event without a request still counts
-- Reads:  declared, exposures, followed_exposures, interactions, known_units
WITH
shown AS (
  SELECT
    d.experiment,
    d.unit,
    d.kind,
    IF(d.kind = 'interleave', e.team, TRY_ELEMENT_AT(e.arms, d.experiment)) AS arm,
    IF(d.unit = 'user', e.user_id, e.request_id)                            AS unit_id,
    e.request_id,
    e.user_id,
    e.item_id,
    e.ts,
    e.device,
    e.fill_level,
    e.`limit`
  FROM exposures AS e
  JOIN declared AS d ON TRY_ELEMENT_AT(e.arms, d.experiment) IS NOT NULL
  WHERE e.ds = :ds AND TRY_ELEMENT_AT(e.arms, '_forced') IS NULL
),
answers AS (
  SELECT
    s.experiment, s.unit, s.kind, s.arm, s.unit_id, s.request_id,
    MAX(s.user_id)                                   AS user_id,
    MIN(s.ts)                                        AS ts,
    MIN(s.device)                                    AS device,
    COUNT(*) < MAX(s.`limit`)                        AS is_short,
    COUNT(*)                                         AS place_count,
    COUNT_IF(COALESCE(s.fill_level <> 'user', TRUE)) AS filled_count,
    COUNT(f.item_id)                                 AS exposure_count,
    COUNT_IF(COALESCE(f.is_followed, FALSE))         AS click_count
  FROM shown AS s
  LEFT JOIN followed_exposures AS f ON f.request_id = s.request_id AND f.item_id = s.item_id
  WHERE s.arm IS NOT NULL AND s.unit_id IS NOT NULL
  GROUP BY s.experiment, s.unit, s.kind, s.arm, s.unit_id, s.request_id
),
credited AS (
  SELECT
    experiment, unit, kind, arm, unit_id, request_id, user_id, ts, device, is_short, place_count, filled_count,
    exposure_count, click_count,
    click_count / NULLIF(SUM(click_count) OVER (PARTITION BY experiment, request_id), 0) AS credit
  FROM answers
),
answered AS (
  SELECT
    experiment, arm, unit_id,
    MAX(user_id)                                           AS user_id,
    MIN(STRUCT(ts, device)).device                         AS device,
    COUNT(*)                                               AS request_count,
    COUNT_IF(kind = 'ab' AND is_short)                     AS short_count,
    SUM(place_count)                                       AS place_count,
    SUM(filled_count)                                      AS filled_count,
    SUM(exposure_count)                                    AS exposure_count,
    SUM(click_count)                                       AS click_count,
    SUM(IF(kind = 'interleave', COALESCE(credit, 0D), 0D)) AS credit
  FROM credited
  GROUP BY experiment, arm, unit_id
),
members AS (
  SELECT experiment, arm, unit_id, MIN(since) AS since
  FROM (
    SELECT experiment, arm, unit_id, ts AS since
    FROM answers
    WHERE unit = 'user' AND kind = 'ab'
    UNION ALL
    SELECT experiment, arm, unit_id, TIMESTAMP '1970-01-01 00:00:00' AS since
    FROM known_units
  )
  GROUP BY experiment, arm, unit_id
),
acts AS (
  SELECT
    interaction_id,
    request_id,
    user_id,
    item_id,
    session_id,
    ts,
    event_type = 'purchase'                                                                 AS is_order,
    CAST(ROUND(unit_price_minor * COALESCE(quantity, CAST(1 AS DECIMAL(18, 3)))) AS BIGINT) AS amount_minor
  FROM interactions
  WHERE ds = :ds AND event_type <> 'return'
),
visits AS (
  SELECT
    m.experiment, m.arm, m.unit_id, a.session_id,
    COUNT_IF(a.is_order)                                AS order_count,
    SUM(IF(a.is_order, COALESCE(a.amount_minor, 0), 0)) AS revenue_minor,
    UNIX_SECONDS(MAX(a.ts)) - UNIX_SECONDS(MIN(a.ts))   AS seconds,
    COUNT(DISTINCT a.item_id)                           AS item_count
  FROM members AS m
  JOIN acts AS a ON a.user_id = m.unit_id AND a.ts >= m.since
  GROUP BY m.experiment, m.arm, m.unit_id, a.session_id
),
request_orders AS (
  SELECT p.experiment, a.interaction_id, a.amount_minor, STRUCT(p.ts, p.request_id, p.arm) AS by
  FROM shown AS p
  JOIN acts AS a ON a.request_id = p.request_id AND a.item_id = p.item_id
  WHERE p.unit = 'request' AND p.kind = 'ab' AND a.is_order
  UNION ALL
  SELECT p.experiment, a.interaction_id, a.amount_minor, STRUCT(p.ts, p.request_id, p.arm) AS by
  FROM shown AS p
  JOIN acts AS a ON a.user_id = p.user_id AND a.item_id = p.item_id
  WHERE p.unit = 'request' AND p.kind = 'ab' AND a.is_order AND a.request_id IS NULL
    AND a.ts >= p.ts AND a.ts < p.ts + MAKE_DT_INTERVAL(0, 0, :follow_minutes)
),
latest_orders AS (
  SELECT experiment, interaction_id, amount_minor, MAX(by) AS by
  FROM request_orders
  GROUP BY experiment, interaction_id, amount_minor
),
bought AS (
  SELECT
    experiment, arm, unit_id,
    SUM(order_count)                           AS order_count,
    SUM(revenue_minor)                         AS revenue_minor,
    COUNT(session_id)                          AS session_count,
    SUM(IF(session_id IS NULL, 0, seconds))    AS session_seconds,
    SUM(IF(session_id IS NULL, 0, item_count)) AS session_item_count
  FROM visits
  GROUP BY experiment, arm, unit_id
  UNION ALL
  SELECT
    experiment, by.arm, by.request_id AS unit_id,
    COUNT(*)                          AS order_count,
    SUM(COALESCE(amount_minor, 0))    AS revenue_minor,
    0                                 AS session_count,
    0                                 AS session_seconds,
    0                                 AS session_item_count
  FROM latest_orders
  GROUP BY experiment, by.arm, by.request_id
)
SELECT
  COALESCE(a.experiment, b.experiment) AS experiment,
  COALESCE(a.unit_id, b.unit_id)       AS unit_id,
  COALESCE(a.arm, b.arm)               AS arm,
  COALESCE(a.user_id, b.unit_id)       AS user_id,
  a.device,
  COALESCE(a.request_count, 0)         AS request_count,
  COALESCE(a.short_count, 0)           AS short_count,
  COALESCE(a.place_count, 0)           AS place_count,
  COALESCE(a.filled_count, 0)          AS filled_count,
  COALESCE(a.exposure_count, 0)        AS exposure_count,
  COALESCE(a.click_count, 0)           AS click_count,
  COALESCE(a.credit, 0D)               AS credit,
  COALESCE(b.order_count, 0)           AS order_count,
  COALESCE(b.revenue_minor, 0)         AS revenue_minor,
  COALESCE(b.session_count, 0)         AS session_count,
  COALESCE(b.session_seconds, 0)       AS session_seconds,
  COALESCE(b.session_item_count, 0)    AS session_item_count
FROM answered AS a
FULL JOIN bought AS b ON b.experiment = a.experiment AND b.arm = a.arm AND b.unit_id = a.unit_id
