/**
 * Where NATS is and as whom a program goes there: from the environment, with the files that it names read and checked, so
 * that a mistake is told before connecting. It connects to nothing.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { credsAuthenticator, nkeyAuthenticator } from '@nats-io/nats-core'
import type { Env } from './env.ts'
import { faultCode } from './fault-code.ts'
import { EXIT_CONFIG, ExitError } from './lifecycle.ts'
import { isLoopback } from './loopback.ts'
import type { Secret } from './secret.ts'

/** PEM texts. */
export type NatsTls = { ca?: string; cert?: string; key?: string }
export type NatsLogin = {
  /** Of a cluster: several, with commas between them. `tls://` demands TLS. */
  url: string
  user?: string | undefined
  password?: Secret | string | undefined
  /** Text of a credentials file. */
  creds?: Uint8Array | undefined
  /** Seed of an nkey. */
  seed?: Secret | undefined
  tls?: NatsTls | undefined
}

/** @throws ExitError 78; nothing of what stands in a file gets into it. */
export function natsLogin(env: Env): NatsLogin {
  const tls = readTls(env)
  if (tls === undefined && !env.NATS_PLAINTEXT) refusePlaintext(env.NATS_URL)
  return {
    url: env.NATS_URL,
    user: env.NATS_USER,
    password: env.NATS_PASSWORD,
    creds: readCreds(env.NATS_CREDS),
    seed: checkedSeed(env.NATS_NKEY_SEED),
    tls,
  }
}

/** The addresses in NATS_URL, one for each server of a cluster. */
export const serversOf = (url: string): string[] => url.split(',').map((server) => server.trim())

/** The host and the port of one of them. */
export const serverUrl = (server: string): URL => new URL(server.includes('://') ? server : `nats://${server}`)

/** True when every server's address can only be this machine: by the whole name, not by how it begins. */
export const isHere = (url: string): boolean => serversOf(url).every((server) => isLoopback(serverUrl(server).hostname))

/** Refresh tokens and the users' own tokens would go over the network for everybody on it to read. */
function refusePlaintext(url: string): void {
  const open = serversOf(url).find((server) => !isHere(server))
  if (open === undefined) return
  throw refuse(
    `NATS_URL: ${open} is not on this machine, and without TLS requests with tokens go there in plain text: use tls://, or set NATS_PLAINTEXT=1 where the network is yours alone`,
  )
}

/**
 * The text of the credentials file that NATS_CREDS names, after a look at its form: a client that cannot read it would
 * only say that it cannot connect.
 * @throws ExitError 78; nothing of what stands in the file gets into it.
 */
export function readCreds(file: string | undefined): Uint8Array | undefined {
  if (file === undefined) return undefined
  const creds = read('NATS_CREDS', file)
  if (isUsable(creds)) return creds
  throw refuse(
    `NATS_CREDS: ${file} is no credentials file: it must hold the JWT of a NATS user and its seed; have it made anew`,
  )
}

/** Whether the client itself gets a JWT, and a seed that signs, out of them. */
function isUsable(creds: Uint8Array): boolean {
  try {
    const login = credsAuthenticator(creds)('nonce')
    return typeof login === 'object' && 'jwt' in login && /^[\w-]+\.[\w-]+\.[\w-]+$/.test(login.jwt)
  } catch {
    return false
  }
}

function checkedSeed(seed: Secret | undefined): Secret | undefined {
  if (seed === undefined) return undefined
  try {
    const login = nkeyAuthenticator(new TextEncoder().encode(seed.reveal()))('nonce')
    if (typeof login === 'object' && 'nkey' in login && login.nkey.startsWith('U')) return seed
  } catch (cause) {
    throw refuse('NATS_NKEY_SEED is no seed of a NATS user: it begins with SU', cause)
  }
  throw refuse('NATS_NKEY_SEED is no seed of a NATS user: it begins with SU')
}

function readTls(env: Env): NatsTls | undefined {
  const { NATS_TLS_CA: ca, NATS_TLS_CERT: cert, NATS_TLS_KEY: key } = env
  if ((cert === undefined) !== (key === undefined))
    throw refuse('NATS_TLS_CERT and NATS_TLS_KEY belong together: set both')
  const tls: NatsTls = {}
  if (ca !== undefined) tls.ca = readPem('NATS_TLS_CA', ca, (pem) => new X509Certificate(pem))
  if (cert !== undefined && key !== undefined) {
    tls.cert = readPem('NATS_TLS_CERT', cert, (pem) => new X509Certificate(pem))
    tls.key = readPem('NATS_TLS_KEY', key, (pem) => createPrivateKey(pem))
    if (!new X509Certificate(tls.cert).checkPrivateKey(createPrivateKey(tls.key)))
      throw refuse(`NATS_TLS_KEY: ${key} is not the key of the certificate in ${cert}`)
  }
  const wanted = Object.keys(tls).length > 0 || serversOf(env.NATS_URL).some((server) => server.startsWith('tls://'))
  return wanted ? tls : undefined
}

function readPem(name: string, file: string, parse: (pem: string) => unknown): string {
  const pem = read(name, file).toString('utf8')
  try {
    parse(pem)
    return pem
  } catch {
    throw refuse(`${name}: ${file} is not what is needed, in PEM, without a passphrase`)
  }
}

function read(name: string, file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    throw refuse(`${name}: ${file} cannot be read (${faultCode(error)}); name a file that this user may read`)
  }
}

const refuse = (message: string, cause?: unknown): ExitError => new ExitError(EXIT_CONFIG, message, { cause })
