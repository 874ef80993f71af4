/** Accepted when: NATS stopped for ten seconds in the middle loses nothing, doubles nothing, and all goes on by itself. */
import { test } from 'node:test'
import { natsAway } from './outages.ts'

test('NATS stopped for ten seconds during a backfill loses nothing and doubles nothing', () =>
  natsAway(10_000, 'SIGTERM'))
