-- One row per landed exposure: clean, or with the reason it is set aside; grain: (ds, path, place of the row).
--
-- A place on an answered shelf holds one item: the last row of the file whose name sorts last stands. A row equal to
-- it, as of a log that is delivered twice, adds nothing (`exact_duplicate`, not kept); a different one is set aside.
--
-- Params: :ds  DATE  last landing folder, inclusive
-- Reads:  landed
WITH judged AS (
  SELECT
    ds,
    path,
    raw,
    row_sha256,
    unread,
    row_order,
    STRUCT(
      request_id, ts, user_id, item_id, position, slot_type, fill_level, snapshot, overlay, model_version,
      policy_version, source, arms, team, propensity, eligible_count, score, price_minor, page, device, location,
      shelf, row, `limit`, filters
    )    AS exposure,
    COALESCE(fault, CASE
      WHEN propensity < 0 OR propensity > 1
        THEN NAMED_STRUCT('reason', 'no_probability', 'column_name', 'propensity')
    END) AS fault
  FROM landed
  WHERE ds <= :ds
),
compared AS (
  SELECT
    ds, path, raw, unread, exposure, fault, row_sha256,
    ROW_NUMBER() OVER last_first            AS place,
    FIRST_VALUE(row_sha256) OVER last_first AS last_sha256
  FROM judged
  WINDOW last_first AS (
    PARTITION BY
      ds, fault IS NULL, IF(fault IS NULL, exposure.request_id, row_sha256), IF(fault IS NULL, exposure.position, 0)
    ORDER BY path DESC, row_order DESC
  )
),
decided AS (
  SELECT
    ds, path, raw, unread, exposure, row_sha256,
    CASE
      WHEN fault IS NOT NULL OR place = 1 THEN fault
      WHEN row_sha256 = last_sha256 THEN NAMED_STRUCT('reason', 'exact_duplicate', 'column_name', NULL)
      ELSE NAMED_STRUCT('reason', 'conflicting_row', 'column_name', 'request_id')
    END AS fault
  FROM compared
)
SELECT
  ds,
  exposure.request_id,
  exposure.ts,
  exposure.user_id,
  exposure.item_id,
  exposure.position,
  exposure.slot_type,
  exposure.fill_level,
  exposure.snapshot,
  exposure.overlay,
  exposure.model_version,
  exposure.policy_version,
  exposure.source,
  exposure.arms,
  exposure.team,
  exposure.propensity,
  exposure.eligible_count,
  exposure.score,
  exposure.price_minor,
  exposure.page,
  exposure.device,
  exposure.location,
  exposure.shelf,
  exposure.row,
  exposure.`limit`,
  exposure.filters,
  path,
  unread,
  fault.reason,
  fault.column_name,
  IF(fault IS NULL, NULL, COALESCE(raw, LEFT(TO_JSON(exposure, MAP('timestampFormat', 'yyyy-MM-dd HH:mm:ss')), 1024)))
    AS raw,
  row_sha256
FROM decided
