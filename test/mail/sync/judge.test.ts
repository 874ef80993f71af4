import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppError } from '#shared/errors.ts'
import { TimeoutError } from '#shared/nats.ts'
import { RevisionConflict } from '../../../services/mail/kv/account-record.ts'
import {
  ProviderError,
  type ProviderErrorFacts,
  type ProviderErrorKind,
} from '../../../services/mail/provider/provider.ts'
import { DiskError } from '../../../services/mail/store/disk-errors.ts'
import { newLane } from '../../../services/mail/sync/commit-page.ts'
import { judge } from '../../../services/mail/sync/judge.ts'
import { GrantError } from '../../../services/mail/token/grant-error.ts'
import { KeyUnavailableError } from '../../../services/mail/token/seal.ts'

const NOW = 1_700_000_000_000
const HALF = 0.5
const provider = (kind: ProviderErrorKind, facts: Partial<ProviderErrorFacts> = {}) =>
  new ProviderError(kind, { operation: 'test', ...facts })
const of = (error: unknown, lane = newLane('history'), shared = false, random = HALF) =>
  judge(error, lane, NOW, shared, random)

test('a refused token means signing in again, and a foreign mailbox says which', () => {
  assert.deepEqual(of(provider('auth')), { do: 'reauth', code: 'AUTH_EXPIRED' })
  assert.deepEqual(of(provider('auth', { code: 'WRONG_MAILBOX' })), { do: 'reauth', code: 'WRONG_MAILBOX' })
})

test('a forgotten position is walked again at once, from where the adapter says', () => {
  assert.deepEqual(of(provider('gone')), { do: 'restart', code: 'CURSOR_EXPIRED', delayMs: 0, cursor: null })
  const verdict = of(provider('gone', { restartCursor: 'here' }))
  assert.deepEqual(verdict, { do: 'restart', code: 'CURSOR_EXPIRED', delayMs: 0, cursor: 'here' })
})

test('a position forgotten twice within the hour waits ten minutes, and a shared mailbox is named as the cause', () => {
  const again = { ...newLane('folders'), resets: 1, resetMs: NOW - 3_599_999 }
  assert.deepEqual(of(provider('gone'), again), {
    do: 'restart',
    code: 'CURSOR_EXPIRED',
    delayMs: 600_000,
    cursor: null,
  })
  assert.deepEqual(of(provider('gone'), again, true), {
    do: 'restart',
    code: 'SHARED_MAILBOX',
    delayMs: 600_000,
    cursor: null,
  })
  const longAgo = { ...again, resetMs: NOW - 3_600_000 }
  assert.deepEqual(of(provider('gone'), longAgo, true), {
    do: 'restart',
    code: 'CURSOR_EXPIRED',
    delayMs: 0,
    cursor: null,
  })
})

test('an announced wait is kept to the full, never shortened, at least a second', () => {
  for (const random of [0, HALF, 0.999]) {
    const verdict = of(provider('throttled', { retryAfterMs: 37_000 }), newLane('history'), false, random)
    assert.ok(verdict.do === 'throttle' && verdict.delayMs >= 37_000 && verdict.delayMs <= 40_700)
  }
  const short = of(provider('throttled', { retryAfterMs: 0, scope: 'project' }), newLane('history'), false, 0)
  assert.deepEqual(short, { do: 'throttle', code: 'THROTTLED', delayMs: 1_000, scope: 'project' })
})

test('throttling without an announcement waits a second; the limiter knows how often in a row it was refused', () => {
  const verdict = of(provider('throttled'), { ...newLane('history'), failures: 5 })
  assert.deepEqual(verdict, { do: 'throttle', code: 'THROTTLED', delayMs: 1_050, scope: 'mailbox' })
})

test('a passing fault backs off, a refusal is repeated slowly', () => {
  assert.deepEqual(of(provider('transient')), { do: 'retry', code: 'PROVIDER_DOWN', delayMs: 500 })
  const fourth = of(provider('transient'), { ...newLane('history'), failures: 3 })
  assert.deepEqual(fourth, { do: 'retry', code: 'PROVIDER_DOWN', delayMs: 4_000 })
  assert.deepEqual(of(provider('rejected')), { do: 'retry', code: 'PROVIDER_REFUSED', delayMs: 60_000 })
})

test('what the token endpoint says decides as what the provider says', () => {
  assert.deepEqual(of(new GrantError('reauth', 'google', { operation: 'refresh', code: 'invalid_grant' })), {
    do: 'reauth',
    code: 'AUTH_EXPIRED',
  })
  assert.deepEqual(of(new GrantError('config', 'google', { operation: 'refresh', code: 'invalid_client' })), {
    do: 'retry',
    code: 'PROVIDER_NOT_CONFIGURED',
    delayMs: 60_000,
  })
  assert.deepEqual(
    of(new GrantError('transient', 'google', { operation: 'refresh', code: 'network', retryAfterMs: 9_000 })),
    {
      do: 'retry',
      code: 'PROVIDER_DOWN',
      delayMs: 9_000,
    },
  )
})

test('an unknown key pauses, a full disk is probed every two seconds, anything else is repeated slowly', () => {
  assert.deepEqual(of(new KeyUnavailableError('k9')), { do: 'pause', code: 'KEY_UNAVAILABLE' })
  assert.deepEqual(of(new DiskError('DISK_FULL', 'full')), { do: 'retry', code: 'DISK_FULL', delayMs: 2_000 })
  assert.deepEqual(of(new AppError('PROVIDER_NOT_CONFIGURED')), {
    do: 'retry',
    code: 'PROVIDER_NOT_CONFIGURED',
    delayMs: 60_000,
  })
  for (const odd of [new Error('x'), 'text', undefined])
    assert.deepEqual(of(odd), { do: 'retry', code: 'INTERNAL', delayMs: 60_000 })
})

test('a fault of NATS while a record is read or written is not the provider’s, and is tried again soon', () => {
  for (const error of [new TimeoutError(), new RevisionConflict('mail_accounts/x')]) {
    assert.deepEqual(of(error), { do: 'retry', code: 'NATS_UNAVAILABLE', delayMs: 2_000 })
  }
})
