CREATE TABLE `oauth_tokens` (
	`user_id` text NOT NULL,
	`provider` text NOT NULL,
	`inbox_id` text NOT NULL,
	`access_token` text NOT NULL,
	`refresh_token` text NOT NULL,
	`expiry` integer NOT NULL,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	`kv_rev` integer NOT NULL,
	`kv_hash` text NOT NULL,
	`bucket_created` integer NOT NULL,
	`dirty` integer NOT NULL,
	`mailbox` text,
	`address` text,
	`reauth` text,
	PRIMARY KEY(`user_id`, `provider`, `inbox_id`)
);
--> statement-breakpoint
CREATE INDEX `oauth_tokens_bucket` ON `oauth_tokens` (`bucket_created`);--> statement-breakpoint
CREATE INDEX `oauth_tokens_dirty` ON `oauth_tokens` (`user_id`) WHERE dirty = 1;