// What is written to a loopback connection goes to the queue of the socket at its other end, past TCP and IP.
//
// For measuring only: see README.md for what it breaks.

#include <linux/bpf.h> // first: the others need its types

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// One end of a connection, as it sees itself; addresses in network order, ports in the host's.
struct end {
    __u32 local_ip, remote_ip, local_port, remote_port;
};

struct {
    __uint(type, BPF_MAP_TYPE_SOCKHASH);
    __uint(max_entries, 65535);
    __type(key, struct end);
    __type(value, __u64);
} sockets SEC(".maps");

// Connections that stay with TCP: one whose first bytes went that way must not change over, or later bytes would
// overtake them.
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 65535);
    __type(key, struct end);
    __type(value, __u8);
} plain SEC(".maps");

SEC("sockops")
int established(struct bpf_sock_ops *ops)
{
    if (ops->family != 2 /* AF_INET */)
        return 0;
    if (ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && ops->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
        return 0;
    if ((bpf_ntohl(ops->local_ip4) >> 24) != 127)
        return 0;
    struct end self = {ops->local_ip4, ops->remote_ip4, ops->local_port, bpf_ntohl(ops->remote_port)};
    bpf_map_delete_elem(&plain, &self);
    bpf_sock_hash_update(ops, &sockets, &self, BPF_ANY);
    return 0;
}

SEC("sk_msg")
int redirect(struct sk_msg_md *msg)
{
    struct end self = {msg->local_ip4, msg->remote_ip4, msg->local_port, bpf_ntohl(msg->remote_port)};
    struct end peer = {self.remote_ip, self.local_ip, self.remote_port, self.local_port};
    if (bpf_map_lookup_elem(&plain, &self))
        return SK_PASS;
    if (bpf_msg_redirect_hash(msg, &sockets, &peer, BPF_F_INGRESS) != SK_PASS) {
        __u8 yes = 1;
        bpf_map_update_elem(&plain, &self, &yes, BPF_ANY);
    }
    return SK_PASS;
}

char terms[] SEC("license") = "GPL";
