-- One row per landed item row: clean, or with the reason it is set aside; grain: (ds, path, place of the row).
--
-- Of several rows for one item in a day, the last row of the file whose name sorts last stands.
-- A row equal to it adds nothing (`exact_duplicate`, not kept); a different one is set aside.
--
-- Params: :ds  DATE  last landing folder, inclusive
-- Reads:  landed
WITH judged AS (
  SELECT
    ds,
    path,
    raw,
    raw_sha256,
    row_order,
    STRUCT(
      item_id,
      title,
      NULLIF(ARRAY_JOIN(FILTER(TRANSFORM(SPLIT(category, '/'), s -> TRIM(s)), s -> s <> ''), '/'), '') AS category,
      brand,
      seller_id,
      CAST(price * 100 AS BIGINT) AS price_minor,
      stock,
      created_at,
      image_url,
      COALESCE(deleted, FALSE) AS deleted
    )    AS item,
    COALESCE(fault, CASE
      WHEN price < 0 THEN NAMED_STRUCT('reason', 'negative_price', 'column_name', 'price')
      WHEN stock < 0 THEN NAMED_STRUCT('reason', 'negative_stock', 'column_name', 'stock')
    END) AS fault
  FROM landed
  WHERE ds <= :ds
),
hashed AS (
  SELECT
    ds, path, raw, row_order, item, fault,
    COALESCE(
      raw_sha256,
      SHA2(TO_JSON(item, MAP('timestampFormat', "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX")), 256)
    ) AS row_sha256
  FROM judged
),
compared AS (
  SELECT
    ds, path, raw, item, fault, row_sha256,
    ROW_NUMBER() OVER last_first            AS place,
    FIRST_VALUE(row_sha256) OVER last_first AS last_sha256
  FROM hashed
  WINDOW last_first AS (
    PARTITION BY ds, fault IS NULL, IF(fault IS NULL, item.item_id, row_sha256)
    ORDER BY path DESC, row_order DESC
  )
),
decided AS (
  SELECT
    ds, path, raw, item, row_sha256,
    CASE
      WHEN fault IS NOT NULL OR place = 1 THEN fault
      WHEN row_sha256 = last_sha256 THEN NAMED_STRUCT('reason', 'exact_duplicate', 'column_name', NULL)
      ELSE NAMED_STRUCT('reason', 'conflicting_row', 'column_name', 'item_id')
    END AS fault
  FROM compared
)
SELECT
  ds,
  item.item_id,
  item.title,
  item.category,
  item.brand,
  item.seller_id,
  item.price_minor,
  item.stock,
  item.created_at,
  item.image_url,
  item.deleted,
  path,
  fault.reason,
  fault.column_name,
  IF(fault IS NULL, NULL, COALESCE(raw, TO_JSON(item))) AS raw,
  row_sha256
FROM decided
