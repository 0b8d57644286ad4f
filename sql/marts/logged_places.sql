-- The ranked places of answers whose propensities are known, and where the shelves in question rank their items;
-- grain: (request_id, place).
-- A view of a run, never written: off-policy evaluation is made of it.
-- An answer counts if its shopper has one of the shelves, and if nothing but a ranking and its perturbation ordered its
-- ranked places: all of them come from the shopper's own shelf of the snapshot that answered, and no experiment and no
-- filter had a part. What that shelf has above them and the answer has not could not be shown then: the shelves in
-- question are ranked without it.
--
-- Params: :every   INT  one shopper in so many is taken, by a hash of the id
--         :places  INT  so many ranked places count, from the top
-- Reads:  exposures, followed_exposures, logged_shelves, shelves
WITH
ranked AS (
  SELECT
    e.request_id,
    e.user_id,
    e.item_id,
    e.propensity,
    e.snapshot,
    l.rank                                                                AS logged_rank,
    ROW_NUMBER() OVER (PARTITION BY e.request_id ORDER BY e.position) - 1 AS place,
    COUNT(*) OVER (PARTITION BY e.request_id)                             AS ranked_count,
    MAX(l.rank) OVER (PARTITION BY e.request_id)                          AS last_rank,
    BOOL_AND(
      l.rank IS NOT NULL
      AND COALESCE(e.propensity, 0) > 0
      AND COALESCE(e.fill_level, '') = 'user'
      AND e.team IS NULL
      AND COALESCE(CARDINALITY(e.arms), 0) <= 0
      AND COALESCE(e.filters, '{}') = '{}'
    ) OVER (PARTITION BY e.request_id)                                    AS is_plain
  FROM exposures AS e
  LEFT JOIN logged_shelves AS l ON l.snapshot = e.snapshot AND l.user_id = e.user_id AND l.item_id = e.item_id
  WHERE
    e.slot_type = 'ranked'
    AND e.user_id IS NOT NULL
    AND PMOD(CAST(CONV(SUBSTR(MD5(e.user_id), 1, 8), 16, 10) AS BIGINT), :every) = 0
),
shoppers AS (
  SELECT DISTINCT user_id
  FROM shelves
),
plain AS (
  SELECT r.request_id, r.user_id, r.item_id, r.propensity, r.snapshot, r.place, r.ranked_count, r.last_rank
  FROM ranked AS r
  JOIN shoppers AS u ON u.user_id = r.user_id
  WHERE r.is_plain
),
answers AS (
  SELECT DISTINCT request_id, user_id, snapshot, last_rank
  FROM plain
),
not_shown AS (
  SELECT a.request_id, s.rank
  FROM answers AS a
  JOIN logged_shelves AS l ON l.snapshot = a.snapshot AND l.user_id = a.user_id AND l.rank < a.last_rank
  JOIN shelves AS s ON s.user_id = l.user_id AND s.item_id = l.item_id
  LEFT ANTI JOIN plain AS p ON p.request_id = a.request_id AND p.item_id = l.item_id
),
new_ranks AS (
  SELECT p.request_id, p.place, s.rank - 1 - COUNT(n.rank) AS new_rank
  FROM plain AS p
  JOIN shelves AS s ON s.user_id = p.user_id AND s.item_id = p.item_id
  LEFT JOIN not_shown AS n ON n.request_id = p.request_id AND n.rank < s.rank
  GROUP BY p.request_id, p.place, s.rank
)
SELECT
  p.request_id,
  p.user_id,
  p.place,
  p.ranked_count,
  p.propensity,
  COALESCE(f.is_followed, FALSE) AS is_followed,
  n.new_rank
FROM plain AS p
LEFT JOIN followed_exposures AS f ON f.request_id = p.request_id AND f.item_id = p.item_id
LEFT JOIN new_ranks AS n ON n.request_id = p.request_id AND n.place = p.place
WHERE p.place < :places
