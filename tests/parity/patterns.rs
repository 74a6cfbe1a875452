//! Host patterns against Ansible's own selection.
