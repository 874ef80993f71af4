/** Accepted when: kill -9 at random moments of a backfill, restarted, loses nothing, doubles nothing, repeats a page at most. */
import { test } from 'node:test'
import { killDuringBackfill } from './kills.ts'

test('an instance killed four times during a backfill loses nothing, doubles nothing and repeats a page at most', () =>
  killDuringBackfill(4, 400))
