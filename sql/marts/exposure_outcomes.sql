-- How often each item was shown where it could be seen, and how often something followed; grain: (item_id).
-- A view of a run, never written: exploration is made of it.
--
-- Reads:  followed_exposures
SELECT
  item_id,
  COUNT(*)              AS exposure_count,
  COUNT_IF(is_followed) AS click_count
FROM followed_exposures
GROUP BY item_id
