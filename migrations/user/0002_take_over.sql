ALTER TABLE `meta` ADD `rebuilding` integer DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE `meta` ADD `gaps` text;--> statement-breakpoint
ALTER TABLE `meta` ADD `covered_s` integer;