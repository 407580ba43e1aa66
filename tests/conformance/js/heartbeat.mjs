// A foreign node joins a mesh and tells what it hears: js-libp2p with the mesh's network key dials one node,
// subscribes to one topic and prints one JSON object a line:
//   {"linked": PEER}              the link is up, the network key was right
//   {"heard": {...}}              one gossiped message: who signed it, its topic, its bytes as msgpack says
//   {"failed": TEXT}              it could not link; exit 1
// It ends when its input ends. It knows nothing of Falak but the topic's name.
//   node heartbeat.mjs ADDRESS NETWORK_KEY_HEX TOPIC

// Node 20 does not have it yet, and the libraries want it.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((a, b) => { resolve = a; reject = b })
  return { promise, resolve, reject }
}

const { createLibp2p } = await import('libp2p')
const { tcp } = await import('@libp2p/tcp')
const { preSharedKey } = await import('@libp2p/pnet')
const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { identify } = await import('@libp2p/identify')
const { gossipsub } = await import('@libp2p/gossipsub')
const { multiaddr } = await import('@multiformats/multiaddr')
const { decode } = await import('@msgpack/msgpack')

const [address, key, topic] = process.argv.slice(2)
const tell = thing => console.log(JSON.stringify(thing, (_, value) =>
  value instanceof Uint8Array ? { hex: Buffer.from(value).toString('hex') } : value))

const node = await createLibp2p({
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionProtector: preSharedKey({ psk: new TextEncoder().encode(`/key/swarm/psk/1.0.0/\n/base16/\n${key}`) }),
  services: { identify: identify(), pubsub: gossipsub({ globalSignaturePolicy: 'StrictSign' }) }
})

const heard = ({ detail }) => {
  if (detail.topic !== topic) return
  const seen = { topic: detail.topic, type: detail.type, from: detail.from.toString(), size: detail.data.length }
  try {
    tell({ heard: { ...seen, value: decode(detail.data) } })
  } catch (error) {
    tell({ heard: { ...seen, unreadable: String(error) } })
  }
}
node.services.pubsub.addEventListener('message', heard)
node.services.pubsub.subscribe(topic)

try {
  const link = await node.dial(multiaddr(address))
  tell({ linked: link.remotePeer.toString() })
  for await (const _ of process.stdin) { /* until it ends */ }
} catch (error) {
  tell({ failed: String(error) })
  process.exitCode = 1
}
await node.stop()
process.exit()
