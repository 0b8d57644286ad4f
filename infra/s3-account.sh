#!/bin/sh
# Make the archive's bucket and the one account that owns it, through the S3 server's administration; repeatable.
#
#   infra/s3-account.sh
#
# ADMIN_ACCESS_KEY, ADMIN_SECRET_KEY and ADMIN_ENDPOINT_URL are the server's; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
# become the account's, which may read and write the one bucket and make no other.
set -eu
account=${AWS_ACCESS_KEY_ID:?} secret=${AWS_SECRET_ACCESS_KEY:?} bucket=topshelf
if versitygw admin list-users | awk -v account="$account" '$1 == account { found = 1 } END { exit !found }'; then
  versitygw admin update-user --access "$account" --secret="$secret" --role user
else
  versitygw admin create-user --access "$account" --secret="$secret" --role user
fi
if ! versitygw admin list-buckets | awk -v bucket="$bucket" '$1 == bucket { found = 1 } END { exit !found }'; then
  versitygw admin create-bucket --bucket "$bucket" --owner "$account"
fi
