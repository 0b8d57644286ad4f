-- The newest landed row of each item up to :ds, deleted ones included; grain: (item_id).
-- A view of a run, never written: features/item takes the catalogue from it.
-- first_ds is the day of the folder in which the item first came.
--
-- Params: :ds  DATE  last landing folder, inclusive
-- Reads:  items
SELECT
  item_id,
  first_ds,
  title,
  category,
  brand,
  seller_id,
  price_minor,
  stock,
  created_at,
  deleted
FROM (
  SELECT
    item_id,
    title,
    category,
    brand,
    seller_id,
    price_minor,
    stock,
    created_at,
    deleted,
    MIN(ds) OVER (PARTITION BY item_id)                       AS first_ds,
    ROW_NUMBER() OVER (PARTITION BY item_id ORDER BY ds DESC) AS newest_first
  FROM items
  WHERE ds <= :ds
)
WHERE newest_first = 1
