-- Every visible event of the days after :after, returns too, with what returns took of it and whether it counts;
-- grain: (event).
-- A view of a run, never written; features/settled_events keeps it of older days.
--
-- A return takes back its pieces of the shopper's latest purchases of the item that still stand, on its own day or
-- before. A purchase that is taken back whole does not count, nor does the return. What was never bought is not taken
-- back.
-- Of one shopper's, or anonymous visit's, events of one kind with one item on one day, the latest :item_limit count.
-- Of a crowded day with more than :shopper_limit events, about so many count: those of items that a hash chooses.
-- So whether an event counts depends on its own day, and on returns of its shopper; on no other.
-- Subqueries, not WITH: Spark does not find the frame that a run keeps of a query with WITH
-- inside another one.
--
-- Params: :ds             DATE  the day to stand in
--         :after          DATE  events after this day only
--         :item_limit     INT   most events of one kind, with one item, of one shopper on one day
--         :shopper_limit  INT   most events of one shopper on one day
-- Reads:  visible_events, crowded_days
SELECT /*+ BROADCAST(c) */
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
  IF(e.event_type = 'return', 0L, LEAST(e.quantity_milli, e.to_take_milli)) AS taken_milli,
  e.event_type <> 'return'
  AND e.latest_first <= :item_limit
  AND (e.event_type <> 'purchase' OR e.quantity_milli > e.to_take_milli)
  AND (
    c.event_count IS NULL
    OR PMOD(
      CAST(
        CONV(SUBSTR(MD5(CONCAT(e.item_id, CAST(CAST(DATE_SUB(:ds, e.days_ago) AS DATE) AS STRING))), 1, 8), 16, 10)
        AS BIGINT
      ),
      c.event_count
    ) < :shopper_limit
  )                                                                         AS counts
FROM (
  SELECT
    user_id, session_id, item_id, region, ts, event_type, days_ago, is_event, quantity_milli, unit_price_minor,
    rating_milli, dwell_seconds,
    ROW_NUMBER() OVER (
      PARTITION BY user_id, session_id, item_id, days_ago, is_no_return, event_type
      ORDER BY
        ts DESC, quantity_milli ASC, unit_price_minor ASC, rating_milli ASC, dwell_seconds ASC, region ASC,
        -returned_milli ASC
    )       AS latest_first,
    -- What is returned on this day or later and no later purchase was taken back for.
    returned_milli + quantity_milli - LEAST(0L, COALESCE(MIN(returned_milli) OVER (
      PARTITION BY user_id, session_id, item_id
      ORDER BY
        days_ago ASC, is_no_return ASC, event_type ASC,
        ts DESC, quantity_milli ASC, unit_price_minor ASC, rating_milli ASC, dwell_seconds ASC, region ASC,
        -- Equal rows in the order of the sum below: it falls with each purchase and rises with each return.
        IF(is_no_return, -returned_milli, returned_milli) ASC
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), 0L)) AS to_take_milli
  FROM (
    SELECT
      user_id, session_id, item_id, region, ts, event_type, days_ago, is_event, quantity_milli, unit_price_minor,
      rating_milli, dwell_seconds, is_no_return,
      -- From the latest day back, and on a day returns first: pieces returned less pieces bought.
      SUM(IF(is_no_return, -quantity_milli, quantity_milli)) OVER (
        PARTITION BY user_id, session_id, item_id
        ORDER BY
          days_ago ASC, is_no_return ASC, event_type ASC,
          ts DESC, quantity_milli ASC, unit_price_minor ASC, rating_milli ASC, dwell_seconds ASC, region ASC
        ROWS UNBOUNDED PRECEDING
      ) AS returned_milli
    FROM (
      SELECT
        user_id, session_id, item_id, region, ts, event_type, days_ago, is_event, quantity_milli, unit_price_minor,
        rating_milli, dwell_seconds, event_type <> 'return' AS is_no_return
      FROM visible_events
      WHERE days_ago < DATEDIFF(:ds, :after)
    )
  )
) AS e
LEFT JOIN crowded_days AS c
  ON e.is_event AND c.user_id <=> e.user_id AND c.session_id <=> e.session_id AND c.days_ago = e.days_ago
