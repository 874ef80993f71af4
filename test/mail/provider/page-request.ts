/** A request for a page where nothing is known, nothing waits and nothing is allowed, but for what a test says. */
import type { PageRequest } from '../../../services/mail/provider/provider.ts'

export const pageRequest = (more: Partial<PageRequest>): PageRequest => ({
  lane: 'drain',
  cursor: null,
  take: [],
  retried: new Set(),
  known: () => new Set(),
  published: () => new Set(),
  queued: () => new Set(),
  cursorOf: () => undefined,
  accountAnswers: false,
  fetchesNew: false,
  hurries: () => false,
  ...more,
})
