-- Each shopper's first look at an item on a shelf; grain: (user_id, item_pos).
-- Later looks are left out: a shopper who passed an item by sees it differently the next time.
--
-- Reads:  followed_exposures, item
SELECT
  e.user_id,
  i.item_pos,
  MIN(STRUCT(e.ts, e.request_id, e.position)).position                   AS position,
  MIN(STRUCT(e.ts, e.request_id, e.position, e.is_followed)).is_followed AS followed
FROM followed_exposures AS e
JOIN item AS i ON i.item_id = e.item_id
WHERE e.user_id IS NOT NULL
GROUP BY e.user_id, i.item_pos
