-- The pairs of shopper and item that are held out in a shop without earlier days: the latest of each shopper, about one
-- in :share; grain: (user_id, item_id).
-- A view of a run, never written. A pair is as old as its first event. Pairs of one moment, as of a shop without times,
-- are drawn by a hash of both. Another one decides whether a shopper holds out the odd pair of a count that :share does
-- not divide.
--
-- Params: :ds     DATE  the day to stand in
--         :seed   INT   another seed, another choice
--         :share  INT   one pair in this many is held out
-- Reads:  interactions
SELECT user_id, item_id
FROM (
  SELECT
    user_id,
    item_id,
    ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY first_ts DESC, drawn ASC, item_id ASC) AS place,
    COUNT(*) OVER (PARTITION BY user_id)                                                    AS pair_count
  FROM (
    SELECT
      user_id,
      item_id,
      MIN(ts) AS first_ts,
      CAST(
        CONV(SUBSTR(MD5(CONCAT(CAST(:seed AS STRING), '|', user_id, '|', item_id)), 1, 8), 16, 10) AS BIGINT
      )       AS drawn
    FROM interactions
    WHERE
      ds <= :ds
      AND event_date <= :ds
      AND user_id IS NOT NULL
      AND event_type NOT IN ('impression', 'return', 'remove_from_cart')
    GROUP BY user_id, item_id
  )
)
WHERE
  place * :share <= pair_count + PMOD(
    CAST(CONV(SUBSTR(MD5(CONCAT(CAST(:seed AS STRING), '|', user_id)), 1, 8), 16, 10) AS BIGINT), :share
  )
