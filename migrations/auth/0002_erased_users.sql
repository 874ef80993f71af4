CREATE TABLE `erased_users` (
	`user_id` text PRIMARY KEY NOT NULL,
	`record` text NOT NULL
);
