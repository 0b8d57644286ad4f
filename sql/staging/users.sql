-- One row per landed user row: clean, or with the reason it is set aside; grain: (ds, path, place of the row).
--
-- Of several rows for one user in a day, the last row of the file whose name sorts last stands.
-- A row equal to it adds nothing (`exact_duplicate`, not kept); a different one is set aside.
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
    fault,
    STRUCT(
      user_id,
      region,
      age_band,
      signed_up_at,
      FILTER(
        TRANSFORM(
          preferred_categories,
          c -> ARRAY_JOIN(FILTER(TRANSFORM(SPLIT(c, '/'), s -> TRIM(s)), s -> s <> ''), '/')
        ),
        c -> c <> ''
      ) AS preferred_categories,
      COALESCE(deleted, FALSE) AS deleted
    ) AS shopper
  FROM landed
  WHERE ds <= :ds
),
compared AS (
  SELECT
    ds, path, raw, unread, shopper, fault, row_sha256,
    ROW_NUMBER() OVER last_first            AS place,
    FIRST_VALUE(row_sha256) OVER last_first AS last_sha256
  FROM judged
  WINDOW last_first AS (
    PARTITION BY ds, fault IS NULL, IF(fault IS NULL, shopper.user_id, row_sha256)
    ORDER BY path DESC, row_order DESC
  )
),
decided AS (
  SELECT
    ds, path, raw, unread, shopper, row_sha256,
    CASE
      WHEN fault IS NOT NULL OR place = 1 THEN fault
      WHEN row_sha256 = last_sha256 THEN NAMED_STRUCT('reason', 'exact_duplicate', 'column_name', NULL)
      ELSE NAMED_STRUCT('reason', 'conflicting_row', 'column_name', 'user_id')
    END AS fault
  FROM compared
)
SELECT
  ds,
  shopper.user_id,
  shopper.region,
  shopper.age_band,
  shopper.signed_up_at,
  shopper.preferred_categories,
  shopper.deleted,
  path,
  unread,
  fault.reason,
  fault.column_name,
  IF(fault IS NULL, NULL, COALESCE(raw, LEFT(TO_JSON(shopper, MAP('timestampFormat', 'yyyy-MM-dd HH:mm:ss')), 1024)))
    AS raw,
  row_sha256
FROM decided
