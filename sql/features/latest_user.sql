-- The newest landed row of each shopper up to :ds, deleted ones included; grain: (user_id).
-- A view of a run, never written: it tells user, newcomer and user_item who is retired.
-- A subquery, not WITH: Spark does not find the frame that a run keeps of a query with WITH inside another one.
--
-- Params: :ds  DATE  last landing folder, inclusive
-- Reads:  users
SELECT
  user_id,
  region,
  age_band,
  preferred_categories,
  deleted
FROM (
  SELECT
    user_id,
    region,
    age_band,
    preferred_categories,
    deleted,
    ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY ds DESC) AS newest_first
  FROM users
  WHERE ds <= :ds
)
WHERE newest_first = 1
