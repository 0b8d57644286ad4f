-- One row per landed item row: clean, or with the reason it is set aside; grain: (ds, path, place of the row).
--
-- Of several rows for one item in a day, the last row of the file whose name sorts last stands.
-- A row equal to it adds nothing (`exact_duplicate`, not kept); a different one is set aside.
-- A row of a partial file takes the columns that it lacks from the day's row before it, which then adds nothing more.
--
-- Params: :ds       DATE     last landing folder, inclusive
--         :partial  BOOLEAN  whether a file is partial; else Spark drops the columns of `merged` unread
-- Reads:  landed
WITH judged AS (
  SELECT
    ds,
    path,
    raw,
    row_sha256,
    unread,
    absent,
    row_order,
    STRUCT(
      item_id,
      title,
      NULLIF(ARRAY_JOIN(FILTER(TRANSFORM(SPLIT(category, '/'), s -> TRIM(s)), s -> s <> ''), '/'), '') AS category,
      brand,
      seller_id,
      CAST(price * 100 AS BIGINT) AS price_minor,
      IF(stock < 0, 0, stock) AS stock, -- with backorders a shop owes pieces: it has none
      created_at,
      image_url,
      embedding,
      COALESCE(deleted, FALSE) AS deleted
    ) AS item,
    fault
  FROM landed
  WHERE ds <= :ds
),
compared AS (
  SELECT
    ds, path, raw, unread, absent, item, fault, row_sha256,
    ROW_NUMBER() OVER last_first            AS place,
    FIRST_VALUE(row_sha256) OVER last_first AS last_sha256
  FROM judged
  WINDOW last_first AS (
    PARTITION BY ds, fault IS NULL, IF(fault IS NULL, item.item_id, row_sha256)
    ORDER BY path DESC, row_order DESC
  )
),
merged AS (
  SELECT
    ds, path, raw, unread, item, fault, row_sha256, place, last_sha256,
    MIN_BY(absent, place) OVER same_item IS NOT NULL AS is_into_partial,
    STRUCT(
      item.item_id,
      MIN_BY(item.title, IF(ARRAY_CONTAINS(absent, 'title'), NULL, place)) OVER same_item AS title,
      MIN_BY(item.category, IF(ARRAY_CONTAINS(absent, 'category'), NULL, place)) OVER same_item AS category,
      MIN_BY(item.brand, IF(ARRAY_CONTAINS(absent, 'brand'), NULL, place)) OVER same_item AS brand,
      MIN_BY(item.seller_id, IF(ARRAY_CONTAINS(absent, 'seller_id'), NULL, place)) OVER same_item AS seller_id,
      MIN_BY(item.price_minor, IF(ARRAY_CONTAINS(absent, 'price'), NULL, place)) OVER same_item AS price_minor,
      MIN_BY(item.stock, IF(ARRAY_CONTAINS(absent, 'stock'), NULL, place)) OVER same_item AS stock,
      MIN_BY(item.created_at, IF(ARRAY_CONTAINS(absent, 'created_at'), NULL, place)) OVER same_item AS created_at,
      MIN_BY(item.image_url, IF(ARRAY_CONTAINS(absent, 'image_url'), NULL, place)) OVER same_item AS image_url,
      MIN_BY(item.embedding, IF(ARRAY_CONTAINS(absent, 'embedding'), NULL, place)) OVER same_item AS embedding,
      MIN_BY(item.deleted, IF(ARRAY_CONTAINS(absent, 'deleted'), NULL, place)) OVER same_item AS deleted
    )                                                AS whole,
    AGGREGATE(
      COLLECT_LIST(COALESCE(absent, ARRAY())) OVER same_item, absent, (left, other) -> ARRAY_INTERSECT(left, other)
    )                                                AS absent
  FROM compared
  WINDOW same_item AS (PARTITION BY ds, fault IS NULL, IF(fault IS NULL, item.item_id, row_sha256))
),
decided AS (
  SELECT
    ds, path, raw, unread, row_sha256,
    IF(:partial AND fault IS NULL AND place = 1, whole, item)                       AS item,
    IF(:partial AND fault IS NULL AND place = 1 AND SIZE(absent) > 0, absent, NULL) AS absent,
    CASE
      WHEN fault IS NOT NULL OR place = 1 THEN fault
      WHEN row_sha256 = last_sha256 OR (:partial AND is_into_partial)
        THEN NAMED_STRUCT('reason', 'exact_duplicate', 'column_name', NULL)
      ELSE NAMED_STRUCT('reason', 'conflicting_row', 'column_name', 'item_id')
    END                                                                             AS fault
  FROM merged
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
  item.embedding,
  item.deleted,
  absent,
  path,
  unread,
  fault.reason,
  fault.column_name,
  IF(fault IS NULL, NULL, COALESCE(raw, LEFT(TO_JSON(item, MAP('timestampFormat', 'yyyy-MM-dd HH:mm:ss')), 1024)))
    AS raw,
  row_sha256
FROM decided
