"""What has no subject of its own: errors, commands, storage, parallel work, the machine, plotting, CPU kernels."""
