# What Topshelf needs of AWS: a bucket for lake and archive, one for landing, a table for snapshots, and two roles,
# each with least privilege: the night writes, the endpoint reads snapshots and lands what it was told.
#
#   terraform init && terraform apply -var name=topshelf-shop -var oidc_provider_arn=… -var oidc_issuer=…

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

variable "name" {
  description = "Prefix of every name; buckets are named for all of AWS, so make it the shop's own."
  type        = string
}

variable "namespace" {
  description = "Kubernetes namespace of the service accounts that may take the roles."
  type        = string
  default     = "topshelf"
}

variable "oidc_provider_arn" {
  description = "The cluster's OIDC provider in IAM."
  type        = string
}

variable "oidc_issuer" {
  description = "The same provider's address, without https://."
  type        = string
}

variable "exposure_days" {
  description = "Days that landed exposures are kept; training looks back no further than its windows."
  type        = number
  default     = 400
}

# Buckets ---------------------------------------------------------------------------------------------------------

locals {
  buckets = toset(["lake", "landing"])
}

resource "aws_s3_bucket" "of" {
  for_each = local.buckets
  bucket   = "${var.name}-${each.key}"
}

resource "aws_s3_bucket_public_access_block" "of" {
  for_each                = local.buckets
  bucket                  = aws_s3_bucket.of[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "of" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.of[each.key].id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "aws:kms"
    }
    bucket_key_enabled = true
  }
}

resource "aws_s3_bucket_policy" "tls_only" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.of[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.of[each.key].arn, "${aws_s3_bucket.of[each.key].arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

# No versioning: an erased shopper's rows must be gone, not hidden behind a delete marker.
resource "aws_s3_bucket_lifecycle_configuration" "of" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.of[each.key].id

  rule {
    id     = "unfinished-uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }

  # Snapshots hold shoppers' shelves, so archived ones go before an erasure's 30 days are over.
  dynamic "rule" {
    for_each = each.key == "lake" ? [1] : []
    content {
      id     = "old-archives"
      status = "Enabled"
      filter {
        prefix = "archive/"
      }
      expiration {
        days = 28
      }
    }
  }

  dynamic "rule" {
    for_each = each.key == "landing" ? [1] : []
    content {
      id     = "old-exposures"
      status = "Enabled"
      filter {
        prefix = "landing/exposures/"
      }
      expiration {
        days = var.exposure_days
      }
    }
  }
}

# The snapshots' table --------------------------------------------------------------------------------------------

resource "aws_dynamodb_table" "snapshots" {
  name                        = "${var.name}-snapshots"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "k"
  deletion_protection_enabled = true

  attribute {
    name = "k"
    type = "B"
  }

  # Everything in it can be published again from the archive.
  point_in_time_recovery {
    enabled = false
  }

  server_side_encryption {
    enabled = true
  }
}

# Roles -----------------------------------------------------------------------------------------------------------

locals {
  lake    = aws_s3_bucket.of["lake"].arn
  landing = aws_s3_bucket.of["landing"].arn
  table   = aws_dynamodb_table.snapshots.arn

  statements = {
    night = [
      { Sid = "List", Action = ["s3:ListBucket", "s3:ListBucketMultipartUploads"], Resource = [local.lake, local.landing] },
      { Sid = "ReadLanding", Action = ["s3:GetObject"], Resource = ["${local.landing}/*"] },
      {
        Sid      = "WriteLake"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        Resource = ["${local.lake}/*"]
      },
      {
        Sid = "Publish"
        Action = [
          "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:PutItem",
          "dynamodb:DeleteItem", "dynamodb:BatchWriteItem",
        ]
        Resource = [local.table]
      },
    ]
    maintenance = [
      { Sid = "List", Action = ["s3:ListBucket", "s3:ListBucketMultipartUploads"], Resource = [local.lake, local.landing] },
      {
        Sid      = "Erase"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        Resource = ["${local.lake}/*", "${local.landing}/*"]
      },
      {
        Sid      = "Retain"
        Action   = ["dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem", "dynamodb:PutItem"]
        Resource = [local.table]
      },
    ]
    endpoint = [
      { Sid = "LookUp", Action = ["dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:BatchGetItem"], Resource = [local.table] },
      { Sid = "ListArchive", Action = ["s3:ListBucket"], Resource = [local.lake], Condition = { StringLike = { "s3:prefix" = ["archive/*"] } } },
      { Sid = "StartFromArchive", Action = ["s3:GetObject"], Resource = ["${local.lake}/archive/*"] },
      # Listing tells whether an object is there already, and a missing tombstone (404) from a forbidden one (403).
      { Sid = "ListLanding", Action = ["s3:ListBucket"], Resource = [local.landing] },
      { Sid = "Land", Action = ["s3:PutObject"], Resource = [for table in ["exposures", "events", "tombstones"] : "${local.landing}/landing/${table}/*"] },
      { Sid = "ReadErasures", Action = ["s3:GetObject"], Resource = ["${local.landing}/landing/tombstones/*"] },
    ]
  }
}

resource "aws_iam_role" "of" {
  for_each = local.statements
  name     = "${var.name}-${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = var.oidc_provider_arn }
      Condition = {
        StringEquals = {
          "${var.oidc_issuer}:aud" = "sts.amazonaws.com"
          "${var.oidc_issuer}:sub" = "system:serviceaccount:${var.namespace}:topshelf-${each.key}"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "of" {
  for_each = local.statements
  name     = each.key
  role     = aws_iam_role.of[each.key].id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [for statement in each.value : merge({ Effect = "Allow" }, statement)]
  })
}

output "lake" {
  value = "s3://${aws_s3_bucket.of["lake"].bucket}/lake"
}

output "landing" {
  value = "s3://${aws_s3_bucket.of["landing"].bucket}/landing"
}

output "archive" {
  value = "s3://${aws_s3_bucket.of["lake"].bucket}/archive"
}

output "store" {
  value = "dynamodb://${aws_dynamodb_table.snapshots.name}"
}

output "roles" {
  value = { for name, role in aws_iam_role.of : name => role.arn }
}
