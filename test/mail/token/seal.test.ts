import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { FlattenedEncrypt } from 'jose'
import { type KeyRing, loadKeys } from '../../../services/mail/token/keys.ts'
import {
  createSeal,
  KeyUnavailableError,
  kidOf,
  kidsOf,
  type SealBinding,
  SealBrokenError,
} from '../../../services/mail/token/seal.ts'
import { createLog } from '../../../shared/log.ts'
import { Secret } from '../../../shared/secret.ts'

const log = createLog('test', 'silent')
const keyText = (kid: string): string => `${kid}:${randomBytes(32).toString('base64url')}`
const ring = (text: string): Promise<KeyRing> =>
  loadKeys({ keys: new Secret(text), production: true, dataDir: 'unused', kidsInUse: [] }, log)

const BINDING: SealBinding = { userId: 'u1', provider: 'google', inboxId: 'primary', field: 'credential' }
const PLAIN = new Secret('canary-token')

test('a sealed value opens for its own user, provider, inbox and field only', async () => {
  const seal = createSeal(await ring(keyText('k1')))
  const sealed = await seal.seal(PLAIN, BINDING)
  assert.equal((await seal.open(sealed, BINDING)).reveal(), 'canary-token')
  const others: Partial<SealBinding>[] = [
    { userId: 'u2' },
    { provider: 'microsoft' },
    { inboxId: 'work' },
    { field: 'access_token' },
    { field: 'refresh_token' },
  ]
  for (const other of others) await assert.rejects(seal.open(sealed, { ...BINDING, ...other }), SealBrokenError)
})

test('each value is told with the key that seals it, and what is opened is not', async () => {
  const told: string[] = []
  const seal = createSeal(await ring(`${keyText('next')},${keyText('old')}`), (kid) => void told.push(kid))
  await seal.open(await seal.seal(PLAIN, BINDING), BINDING)
  await seal.seal(PLAIN, BINDING)
  assert.deepEqual(told, ['next', 'next'])
})

test('no single character that is changed, left out or put in is accepted', async () => {
  const seal = createSeal(await ring(keyText('k1')))
  const sealed = await seal.seal(new Secret('x'), BINDING)
  const characters = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_', ...'.=+/ \n\0ä']
  for (let at = 0; at < sealed.length; at++) {
    const [before, own, after] = [sealed.slice(0, at), sealed[at], sealed.slice(at + 1)]
    const others = characters.filter((character) => character !== own)
    // A changed kid is another key; everything else is broken.
    for (const changed of [
      before + after,
      `${before}A${own}${after}`,
      ...others.map((other) => before + other + after),
    ])
      await assert.rejects(seal.open(changed, BINDING), (error: unknown) => {
        return error instanceof SealBrokenError || error instanceof KeyUnavailableError
      })
  }
  assert.equal((await seal.open(sealed, BINDING)).reveal(), 'x', 'the control')
})

test('spare bits of the last base64url character do not make a second spelling', async () => {
  const seal = createSeal(await ring(keyText('k1')))
  const sealed = await seal.seal(PLAIN, BINDING)
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  // A tag of 16 bytes leaves four spare bits in its 22nd character.
  const last = alphabet.indexOf(sealed.at(-1) ?? '')
  const twin = `${sealed.slice(0, -1)}${alphabet[last + 1]}`
  assert.deepEqual(Buffer.from(twin.slice(-22), 'base64url'), Buffer.from(sealed.slice(-22), 'base64url'))
  await assert.rejects(seal.open(twin, BINDING), SealBrokenError)
})

test('an unknown key is named and is no broken value', async () => {
  const sealed = await createSeal(await ring(keyText('old'))).seal(PLAIN, BINDING)
  const seal = createSeal(await ring(keyText('new')))
  await assert.rejects(seal.open(sealed, BINDING), (error: unknown) => {
    assert.ok(error instanceof KeyUnavailableError)
    assert.deepEqual([error.code, error.kid], ['KEY_UNAVAILABLE', 'old'])
    return true
  })
})

test('after a rotation the new key seals and the old one still opens', async () => {
  const [old, next] = [keyText('old'), keyText('new')]
  const before = await createSeal(await ring(old)).seal(PLAIN, BINDING)
  const seal = createSeal(await ring(`${next},${old}`))
  const after = await seal.seal(PLAIN, BINDING)
  assert.deepEqual([kidOf(before), kidOf(after)], ['old', 'new'])
  assert.deepEqual(kidsOf([before, after, before, 'broken']), ['old', 'new'])
  for (const sealed of [before, after]) assert.equal((await seal.open(sealed, BINDING)).reveal(), 'canary-token')
})

test('plain text, other algorithms and foreign headers are broken values, never opened', async () => {
  const keys = await ring(keyText('k1'))
  const seal = createSeal(keys)
  const withHeader = async (header: Record<string, string>): Promise<string> => {
    const { key } = keys.active()
    const aad = JSON.stringify(['mailsync.token.v1', 'u1', 'google', 'primary', 'credential'])
    const jwe = await new FlattenedEncrypt(new TextEncoder().encode('x'))
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', ...header })
      .setAdditionalAuthenticatedData(new TextEncoder().encode(aad))
      .encrypt(key)
    return `${jwe.protected}..${jwe.iv}.${jwe.ciphertext}.${jwe.tag}`
  }
  assert.equal((await seal.open(await withHeader({ kid: 'k1' }), BINDING)).reveal(), 'x')
  const foreign = [await withHeader({ kid: 'k1', typ: 'JWT' }), await withHeader({}), '', 'ya29.plain', 'a..b.c.d']
  for (const value of foreign) {
    await assert.rejects(seal.open(value, BINDING), SealBrokenError)
    assert.throws(() => kidOf(value), SealBrokenError)
  }
})

test('neither errors nor the key ring show a token or a key', async () => {
  const text = keyText('k1')
  const keys = await ring(text)
  const seal = createSeal(keys)
  const sealed = await seal.seal(PLAIN, BINDING)
  const error: unknown = await seal.open(sealed, { ...BINDING, userId: 'u2' }).catch((thrown: unknown) => thrown)
  const shown = inspect([error, keys, keys.active(), seal, PLAIN], { depth: 9, showHidden: true })
  assert.doesNotMatch(shown, /canary/)
  assert.ok(!shown.includes(text.slice(3)))
  await assert.rejects(crypto.subtle.exportKey('raw', keys.active().key), /not extractable/)
})
