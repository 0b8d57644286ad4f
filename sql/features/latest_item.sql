-- The newest landed row of each item up to :ds, deleted ones included; grain: (item_id).
-- A view of a run, never written: features/item takes the catalogue from it.
-- first_ds is the day of the folder in which the item first came. A row of a partial file leaves the columns that it
-- lacks as they were.
--
-- Params: :ds  DATE  last landing folder, inclusive
-- Reads:  items
SELECT
  item_id,
  MIN(ds)                                                                AS first_ds,
  MAX_BY(title, IF(ARRAY_CONTAINS(absent, 'title'), NULL, ds))           AS title,
  MAX_BY(category, IF(ARRAY_CONTAINS(absent, 'category'), NULL, ds))     AS category,
  MAX_BY(brand, IF(ARRAY_CONTAINS(absent, 'brand'), NULL, ds))           AS brand,
  MAX_BY(seller_id, IF(ARRAY_CONTAINS(absent, 'seller_id'), NULL, ds))   AS seller_id,
  MAX_BY(price_minor, IF(ARRAY_CONTAINS(absent, 'price'), NULL, ds))     AS price_minor,
  MAX_BY(stock, IF(ARRAY_CONTAINS(absent, 'stock'), NULL, ds))           AS stock,
  MAX_BY(created_at, IF(ARRAY_CONTAINS(absent, 'created_at'), NULL, ds)) AS created_at,
  MAX_BY(image_url, IF(ARRAY_CONTAINS(absent, 'image_url'), NULL, ds))   AS image_url,
  MAX_BY(deleted, IF(ARRAY_CONTAINS(absent, 'deleted'), NULL, ds))       AS deleted
FROM items
WHERE ds <= :ds
GROUP BY item_id
