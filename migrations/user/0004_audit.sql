CREATE TABLE `audited` (
	`mail` integer PRIMARY KEY NOT NULL
);
--> statement-breakpoint
CREATE TABLE `audits` (
	`provider` text NOT NULL,
	`inbox_id` text NOT NULL,
	`started_ms` integer,
	`finished_ms` integer,
	`passes` integer NOT NULL,
	`missing` integer NOT NULL,
	`extra` integer NOT NULL,
	`twice` integer NOT NULL,
	`absent` integer NOT NULL,
	`gone` integer,
	`provider_total` integer,
	`cost` integer NOT NULL,
	`findings` text,
	`proven_ms` integer,
	PRIMARY KEY(`provider`, `inbox_id`)
);
