//! Ed25519 identities: the name a key has, signatures by it. Owns no key; never keeps one.

use libp2p::PeerId;
use libp2p::identity::{KeyType, Keypair, PublicKey};

/// Multihash code of a PeerId that holds the public key itself.
const IDENTITY_CODE: u64 = 0;

/// The key pair made from 32 bytes.
pub(crate) fn keypair(mut seed: [u8; 32]) -> Result<Keypair, String> {
    Keypair::ed25519_from_bytes(&mut seed[..])
        .map_err(|error| format!("unusable key seed: {error}"))
}

/// The PeerId of the key made from 32 bytes.
pub fn peer_id(seed: [u8; 32]) -> Result<PeerId, String> {
    Ok(keypair(seed)?.public().to_peer_id())
}

/// Ed25519 signature by the key made from 32 bytes.
pub fn sign(seed: [u8; 32], data: &[u8]) -> Result<Vec<u8>, String> {
    keypair(seed)?
        .sign(data)
        .map_err(|error| format!("cannot sign: {error}"))
}

/// Whether the identity behind an Ed25519 PeerId signed `data`. Malformed input is `false`.
pub fn verify(peer: &str, data: &[u8], signature: &[u8]) -> bool {
    let Ok(peer) = peer.parse::<PeerId>() else {
        return false;
    };
    let hash = peer.as_ref();
    if hash.code() != IDENTITY_CODE {
        return false;
    }
    PublicKey::try_decode_protobuf(hash.digest())
        .is_ok_and(|key| key.key_type() == KeyType::Ed25519 && key.verify(data, signature))
}

#[cfg(test)]
mod tests {
    use super::{peer_id, sign, verify};

    #[test]
    fn only_the_signer_and_the_signed_bytes_verify() {
        let (seed, other) = ([7; 32], [8; 32]);
        let name = peer_id(seed).unwrap().to_base58();
        let signature = sign(seed, b"orbit").unwrap();
        assert!(verify(&name, b"orbit", &signature));
        assert!(!verify(&name, b"orbits", &signature));
        assert!(!verify(
            &peer_id(other).unwrap().to_base58(),
            b"orbit",
            &signature
        ));
    }

    #[test]
    fn malformed_input_is_false() {
        let name = peer_id([7; 32]).unwrap().to_base58();
        let hashed = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
        assert!(!verify("", b"", b""));
        assert!(!verify("not base58 0OIl", b"x", &[0; 64]));
        assert!(!verify(hashed, b"x", &[0; 64]));
        assert!(!verify(&name, b"x", &[]));
        assert!(!verify(&name, b"x", &[0; 65]));
    }
}
