-- One row per landed event: clean, or with the reason it is set aside; grain: (ds, path, place of the row).
--
-- An event_id counts once per event_date, in the folder that brought it first. Events without an id all count, as a
-- shop may sell the same line twice. Their id is a hash of the row and its ordinal among equal rows.
--
-- A purchase of a quantity of zero or below is a return of so many pieces: it takes them back, and none if it is zero.
-- Put into the cart in such a quantity, an item is taken out of it. Other events keep the size of their quantity.
--
-- Params: :ds  DATE  last landing folder, inclusive
-- Reads:  landed, earlier
WITH judged AS (
  SELECT
    ds,
    path,
    raw,
    row_sha256,
    unread,
    fault IS NULL AND event_id IS NOT NULL AS has_id,
    STRUCT(
      event_id, user_id, session_id, item_id,
      CASE
        WHEN quantity <= 0 AND event_type = 'purchase' THEN 'return'
        WHEN quantity <= 0 AND event_type = 'add_to_cart' THEN 'remove_from_cart'
        ELSE event_type
      END AS event_type,
      ts, local_day AS event_date,
      value, CAST(ABS(quantity) AS DOUBLE) AS quantity, CAST(unit_price * 100 AS BIGINT) AS unit_price_minor,
      request_id, position, page, device, location, region
    )                                      AS event,
    fault
  FROM landed
  WHERE ds <= :ds
),
numbered AS (
  SELECT
    ds, path, raw, unread, event, fault, has_id, row_sha256,
    ROW_NUMBER() OVER (
      -- Rows without an id are spread by their hash; otherwise they would all meet in one task.
      PARTITION BY
        has_id,
        IF(has_id, event.event_id, row_sha256),
        IF(has_id, event.event_date, ds)
      ORDER BY ds, row_sha256, path
    ) AS ordinal
  FROM judged
),
first_landed AS (
  SELECT event_id, event_date, MIN(ds) AS ds
  FROM earlier
  WHERE ds <= :ds
  GROUP BY event_id, event_date
),
decided AS (
  SELECT
    numbered.ds, path, raw, unread, event, row_sha256, ordinal,
    CASE
      WHEN fault IS NULL AND has_id AND (ordinal > 1 OR COALESCE(first_landed.ds < numbered.ds, FALSE))
        THEN NAMED_STRUCT('reason', 'duplicate_event_id', 'column_name', 'event_id')
      ELSE fault
    END AS fault
  FROM numbered
  LEFT JOIN first_landed
    ON has_id AND first_landed.event_id = event.event_id AND first_landed.event_date = event.event_date
)
SELECT
  ds,
  CASE
    WHEN event.event_id IS NULL THEN CONCAT(row_sha256, '#', ordinal)
    WHEN event.event_date = ds THEN event.event_id
    -- A shop may number its events from one every day: a late row's id must differ from the folder day's own.
    ELSE CONCAT(event.event_id, '@', event.event_date)
  END
    AS interaction_id,
  event.event_id,
  event.user_id,
  event.session_id,
  event.item_id,
  event.event_type,
  event.ts,
  event.event_date,
  event.value,
  CAST(event.quantity AS DECIMAL(18, 3)) AS quantity,
  event.unit_price_minor,
  event.request_id,
  event.position,
  event.page,
  event.device,
  event.location,
  event.region,
  path,
  unread,
  fault.reason,
  fault.column_name,
  IF(fault IS NULL, NULL, COALESCE(raw, LEFT(TO_JSON(event, MAP('timestampFormat', 'yyyy-MM-dd HH:mm:ss')), 1024)))
    AS raw,
  row_sha256
FROM decided
